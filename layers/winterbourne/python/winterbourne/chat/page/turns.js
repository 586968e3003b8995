// The frames of one answer → its turns: what was said, and which tools were called meanwhile. Pure.
//
// Turn: {text, calls}. Call: {id, name, arguments, status, data, result, error, queuedMs, startedMs, endedMs}, where
// times are milliseconds since the question.

export const isFinal = ({ status }) => ["completed", "failed", "timed_out", "cancelled"].includes(status);

/** One answer as it grows. */
export class Turns {
  list = [];

  get calls() {
    return this.list.flatMap(({ calls }) => calls);
  }

  get text() {
    return this.list.map(({ text }) => text).filter(Boolean).join("\n\n");
  }

  /** More words; gives the turn they belong to. */
  say(delta) {
    // The model speaks again only when every tool of its turn has ended: what it says before belongs to that turn.
    const last = this.list.at(-1);
    const turn = last && (!last.calls.length || !last.calls.every(isFinal)) ? last : this.#begin();
    turn.text += delta;
    return turn;
  }

  /** A tool_call frame; gives the turn and the call it tells of. */
  hear({ type, status, duration_ms: durationMs, ...told }, nowMs) {
    let turn = this.list.find(({ calls }) => calls.some(({ id }) => id === told.id));
    if (!turn) {
      turn = this.list.at(-1) ?? this.#begin();
      turn.calls.push({ id: told.id });
    }
    const call = turn.calls.find(({ id }) => id === told.id);
    Object.assign(call, told, { status: status === "progress" ? "started" : status });
    if (status === "queued") call.queuedMs = nowMs;
    else call.startedMs ??= nowMs;
    if (isFinal(call)) call.endedMs = durationMs == null ? nowMs : call.startedMs + durationMs;
    return { turn, call };
  }

  /** Nothing more will come: what has not ended never will. */
  end(nowMs) {
    const open = this.calls.filter((call) => !isFinal(call));
    for (const call of open) Object.assign(call, { status: "cancelled", endedMs: nowMs });
    return open;
  }

  /** The answer as messages for the next request. Some models count their calls from one each time: `number` helps. */
  messages(number, incomplete) {
    return this.list.flatMap((turn) => messagesOf(turn, number, incomplete && turn === this.list.at(-1)));
  }

  #begin() {
    this.list.push({ text: "", calls: [] });
    return this.list.at(-1);
  }
}

function messagesOf({ text, calls }, number, incomplete) {
  const asked = calls.map(({ id, name, arguments: json = "" }) => (
    { type: "tool_call", id: `${id}_${number}`, name, arguments: json }
  ));
  const content = text ? [{ type: "text", text }, ...asked] : asked;
  return [{ role: "assistant", content, incomplete }, ...calls.map((call) => resultOf(call, number))];
}

function resultOf({ id, name, status, result = null, error }, number) {
  const isError = status !== "completed";
  const content = isError ? error || status : JSON.stringify(result);
  return { role: "tool", tool_call_id: `${id}_${number}`, name, content, is_error: isError };
}
