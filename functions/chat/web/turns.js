// The frames of one answer → the turns that they tell of: what was said, and which tools were called. Pure.
//
// Turn: {text, calls} · Call: {id, name, arguments, status, data, result, error, queuedMs, startedMs, endedMs}, times
// in milliseconds since the question was asked.

const FINAL = ["completed", "failed", "timed_out", "cancelled"];

export const isFinal = ({ status }) => FINAL.includes(status);

/** One answer as it grows. */
export class Turns {
  list = [];

  get calls() {
    return this.list.flatMap(({ calls }) => [...calls.values()]);
  }

  get text() {
    return this.list.map(({ text }) => text).filter(Boolean).join("\n\n");
  }

  /** More words; gives the turn they belong to. */
  say(delta) {
    const turn = this.#turnOf(({ calls }) => ![...calls.values()].every(isFinal) || !calls.size);
    turn.text += delta;
    return turn;
  }

  /** A tool_call frame; gives the turn and the call it tells of. */
  hear({ type, status, duration_ms: durationMs, ...told }, nowMs) {
    const turn = this.list.find(({ calls }) => calls.has(told.id)) ?? this.#turnOf(() => true);
    const call = turn.calls.get(told.id) ?? {};
    Object.assign(call, told, { status: status === "progress" ? "started" : status });
    if (status === "queued") call.queuedMs = nowMs;
    else call.startedMs ??= nowMs;
    if (isFinal(call)) call.endedMs = durationMs == null ? nowMs : call.startedMs + durationMs;
    turn.calls.set(told.id, call);
    return { turn, call };
  }

  /** Nothing more will come: what has not ended never will. */
  end(nowMs) {
    const open = this.calls.filter((call) => !isFinal(call));
    for (const call of open) Object.assign(call, { status: "cancelled", endedMs: nowMs });
    return open;
  }

  /** The answer as the messages that the next request repeats. */
  messages(incomplete = false) {
    return this.list.flatMap((turn, index) => messagesOf(turn, incomplete && index === this.list.length - 1));
  }

  // The model speaks again only when every tool of its turn has ended. So words that come while one still runs belong
  // to the turn that called it.
  #turnOf(isStillOpen) {
    const last = this.list.at(-1);
    if (last && isStillOpen(last)) return last;
    const turn = { text: "", calls: new Map() };
    this.list.push(turn);
    return turn;
  }
}

function messagesOf({ text, calls }, incomplete) {
  const asked = [...calls.values()].map(({ id, name, arguments: json }) => ({
    type: "tool_call", id, name, arguments: json ?? "",
  }));
  const content = [...(text ? [{ type: "text", text }] : []), ...asked];
  if (!content.length) return [];
  return [{ role: "assistant", content, ...(incomplete && { incomplete }) }, ...[...calls.values()].map(resultOf)];
}

function resultOf({ id, name, status, result, error }) {
  const isError = status !== "completed";
  const content = isError ? error || status : JSON.stringify(result ?? null);
  return { role: "tool", tool_call_id: id, name, content, is_error: isError };
}
