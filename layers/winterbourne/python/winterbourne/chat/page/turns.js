// The data of answers: turns, built from stream frames; and kept messages as such frames. No DOM.
//
// Turn: {text, calls}. Tool call: {id, name, arguments, status, data, result, error, cached, queuedMs, startedMs, endedMs,
// approval, decision, durationMs}, with times in milliseconds since the request.

export const CANCELLED = /^(The call was stopped|This call was interrupted) before/; // a result does not have its status
/** Cites a source in a text, between signs that no text has; being signs, they end a link or an emphasis before them. */
export const MARK = /\u303f(\d+s\d+)\u303f/;
export const DENIED = /^The user did not allow this call\./;

export const isFinal = ({ status }) => ["completed", "failed", "timed_out", "cancelled", "denied"].includes(status);

export const isAsked = ({ status }) => status === "approval_requested";

/** JSON as a value; other text, such as what a model wrote wrongly, as it is. */
export function parseJson(text, reviver) {
  try {
    return JSON.parse(text, reviver);
  } catch {
    return text;
  }
}

export const withoutMarks = (text) => text.replace(new RegExp(MARK, "g"), "");

export class Turns {
  list = [];

  get calls() {
    return this.list.flatMap(({ calls }) => calls);
  }

  get text() {
    return withoutMarks(this.list.map(({ text }) => text).filter(Boolean).join("\n\n"));
  }

  /** Append text; returns its turn. */
  appendText(delta) {
    // A new turn starts only after all tools of the last one have ended.
    const last = this.list.at(-1);
    const turn = last && (!last.calls.length || !last.calls.every(isFinal)) ? last : this.#addTurn();
    turn.text += delta;
    return turn;
  }

  /** Apply a tool_call frame; returns the call. */
  updateToolCall({ type, status, duration_ms: durationMs, ...fields }, nowMs) {
    let turn = this.list.find(({ calls }) => calls.some(({ id }) => id === fields.id));
    if (!turn) {
      turn = this.list.at(-1) ?? this.#addTurn();
      turn.calls.push({ id: fields.id });
    }
    const call = turn.calls.find(({ id }) => id === fields.id);
    Object.assign(call, fields, { durationMs, status: status === "progress" ? "started" : status });
    if (status === "queued") call.queuedMs = nowMs;
    else if (!isAsked(call)) call.startedMs ??= nowMs;
    if (isFinal(call)) call.endedMs = durationMs == null ? nowMs : call.startedMs + durationMs;
    return call;
  }

  /** Mark unfinished calls as cancelled, but not those that wait for a person if `keepsAsked`; returns them. */
  cancelRunning(nowMs, keepsAsked) {
    const running = this.calls.filter((call) => !isFinal(call) && !(keepsAsked && isAsked(call)));
    for (const call of running) Object.assign(call, { status: "cancelled", endedMs: nowMs });
    return running;
  }

  #addTurn() {
    this.list.push({ text: "", calls: [] });
    return this.list.at(-1);
  }
}

/** → [{message, frames, isComplete}], with `message` as it can be sent again. */
export function toExchanges(messages) {
  const exchanges = [];
  for (const message of messages) {
    const { role, id, parts } = message;
    if (role === "user") exchanges.push({ message: { role, id, content: parts }, frames: [], turns: 0 });
    else if (exchanges.length) addToAnswer(exchanges.at(-1), message);
  }
  return exchanges;
}

function addToAnswer(exchange, message) {
  if (message.role === "tool") {
    exchange.frames.push(resultFrame(message));
    exchange.isComplete = Boolean(exchange.usage); // the model would have been asked again
  } else if (message.role === "assistant") {
    exchange.frames.push({ type: "turn" }, ...message.parts.flatMap(partFrame));
    exchange.turns += 1;
    exchange.answerId = message.id;
    exchange.isComplete = !message.incomplete;
    exchange.usage = message.usage;
  }
}

function partFrame({ type, text, ...call }) {
  switch (type) {
    case "text": return { type: "content", delta: text };
    case "reasoning": return text ? { type, delta: text } : [];
    case "source": return { type, ...call };
    case "tool_call": return { ...call, type, status: call.approval ? "approval_requested" : "started" };
    default: return [];
  }
}

function resultFrame({ tool_call_id: id, name, content, is_error: isError }) {
  const frame = { type: "tool_call", id, name };
  if (!isError) return { ...frame, status: "completed", result: parseJson(content) };
  const status = DENIED.test(content) ? "denied" : CANCELLED.test(content) ? "cancelled" : "failed";
  return { ...frame, status, error: content };
}
