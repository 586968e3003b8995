// The native wire format: ask a question, hear the frames of its answer, stop it. Knows nothing of the page.

import { signedFetch } from "./signed_fetch.js";

/** What went wrong, in words that may be shown; where known with `status` (of HTTP), `code` and `retryAfterS`. */
export class ChatError extends Error {
  constructor(message, more) {
    super(message);
    Object.assign(this, more);
  }
}

/**
 * Ask; yields one frame after the other as they come.
 * Ends after the last frame of the stream (done, error or stopped) and throws a ChatError where there is none.
 */
export async function* ask(body, { key, signal }) {
  const response = await post("chat", body, key, signal);
  if (!response.ok) throw await refusal(response);
  let last;
  for await (const data of events(response.body)) yield last = JSON.parse(data);
  if (!["done", "error", "stopped"].includes(last?.type)) throw cut();
}

/** Ask for a running answer to stop; its own stream then says that it has. Resolves to whether that was heard. */
export async function stop(conversationId, { key }) {
  try {
    return (await post(`chat/${encodeURIComponent(conversationId)}/stop`, {}, key)).ok;
  } catch {
    return false;
  }
}

async function post(path, body, key, signal) {
  const headers = { "content-type": "application/json" };
  if (key) headers["x-api-key"] = key;
  try {
    return await signedFetch(path, { method: "POST", headers, body: JSON.stringify(body), signal });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ChatError("The server cannot be reached.");
  }
}

async function refusal(response) {
  const { error = {} } = await response.json().catch(() => ({}));
  return new ChatError(error.message ?? `The server answered ${response.status}.`, {
    status: response.status,
    code: error.code,
    retryAfterS: Number(response.headers.get("retry-after")),
  });
}

function cut() {
  return new ChatError("The stream broke off before its end.");
}

// Server-sent events: https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream
async function* events(stream) {
  const parser = new EventParser();
  const reader = stream.pipeThrough(new TextDecoderStream()).getReader();
  for (;;) {
    const { done, value } = await reader.read().catch(broken);
    if (done) return;
    yield* parser.push(value);
  }
}

function broken(error) {
  throw error.name === "AbortError" ? error : cut();
}

/** Text in any pieces → the data of each event that is whole. Comments and other fields are passed over. */
export class EventParser {
  #rest = "";
  #data = [];

  *push(text) {
    // A carriage return at the very end may be half of a line end; it waits for the other half.
    const lines = (this.#rest + text).split(/\r\n|\n|\r(?!$)/);
    this.#rest = lines.pop();
    for (const line of lines) {
      if (line.startsWith("data:")) this.#data.push(line.slice(line[5] === " " ? 6 : 5));
      else if (line === "" && this.#data.length) yield this.#data.splice(0).join("\n");
    }
  }
}
