// The data of one answer: its turns, built from stream frames and sent back as messages. No DOM.
//
// Turn: {text, calls}. Tool call: {id, name, arguments, status, data, result, error, queuedMs, startedMs, endedMs},
// with times in milliseconds since the request.

export const isFinal = ({ status }) => ["completed", "failed", "timed_out", "cancelled"].includes(status);

export class Turns {
  list = [];

  get calls() {
    return this.list.flatMap(({ calls }) => calls);
  }

  get text() {
    return this.list.map(({ text }) => text).filter(Boolean).join("\n\n");
  }

  /** Append text; returns its turn. */
  appendText(delta) {
    // A new turn starts only after all tools of the last one have ended.
    const last = this.list.at(-1);
    const turn = last && (!last.calls.length || !last.calls.every(isFinal)) ? last : this.#addTurn();
    turn.text += delta;
    return turn;
  }

  /** Apply a tool_call frame; returns the call and its turn. */
  updateToolCall({ type, status, duration_ms: durationMs, ...fields }, nowMs) {
    let turn = this.list.find(({ calls }) => calls.some(({ id }) => id === fields.id));
    if (!turn) {
      turn = this.list.at(-1) ?? this.#addTurn();
      turn.calls.push({ id: fields.id });
    }
    const call = turn.calls.find(({ id }) => id === fields.id);
    Object.assign(call, fields, { status: status === "progress" ? "started" : status });
    if (status === "queued") call.queuedMs = nowMs;
    else call.startedMs ??= nowMs;
    if (isFinal(call)) call.endedMs = durationMs == null ? nowMs : call.startedMs + durationMs;
    return { turn, call };
  }

  /** Mark unfinished calls as cancelled; returns them. */
  cancelRunning(nowMs) {
    const running = this.calls.filter((call) => !isFinal(call));
    for (const call of running) Object.assign(call, { status: "cancelled", endedMs: nowMs });
    return running;
  }

  /** Messages for the next request. The answer's index makes call ids unique, as some models always count from 1. */
  toMessages(index, incomplete) {
    return this.list.flatMap((turn) => turnMessages(turn, index, incomplete && turn === this.list.at(-1)));
  }

  #addTurn() {
    this.list.push({ text: "", calls: [] });
    return this.list.at(-1);
  }
}

function turnMessages({ text, calls }, index, incomplete) {
  const callParts = calls.map(({ id, name, arguments: json = "" }) => (
    { type: "tool_call", id: `${id}_${index}`, name, arguments: json }
  ));
  const content = text ? [{ type: "text", text }, ...callParts] : callParts;
  return [{ role: "assistant", content, incomplete }, ...calls.map((call) => toolMessage(call, index))];
}

function toolMessage({ id, name, status, result = null, error }, index) {
  const isError = status !== "completed";
  const content = isError ? error || status : JSON.stringify(result);
  return { role: "tool", tool_call_id: `${id}_${index}`, name, content, is_error: isError };
}
