// Client of the native chat API: streams the frames of an answer, requests a stop. No DOM.

import { signedFetch } from "./signed_fetch.js";

/** An error with a message for the user; with HTTP `status` and `retryAfterS` if known. */
export class ChatError extends Error {
  constructor(message, details) {
    super(message);
    Object.assign(this, details);
  }
}

/** Send a chat request; yields frames up to the final one and throws a ChatError if that is missing. */
export async function* streamFrames(body, { key, signal }) {
  const response = await post("chat", body, key, signal);
  if (!response.ok) throw await errorFromResponse(response);
  let last;
  for await (const data of readEvents(response.body)) yield last = JSON.parse(data);
  if (!["done", "error", "stopped"].includes(last?.type)) throw truncatedError();
}

/** Request that an answer stop; its stream then ends with a stopped frame. Resolves to whether it was accepted. */
export async function requestStop(conversationId, { key }) {
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

async function errorFromResponse(response) {
  const { error = {} } = await response.json().catch(() => ({}));
  return new ChatError(error.message ?? `The server answered ${response.status}.`, {
    status: response.status,
    retryAfterS: Number(response.headers.get("retry-after")),
  });
}

function truncatedError() {
  return new ChatError("The stream broke off before its end.");
}

// https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream
async function* readEvents(stream) {
  const parser = new EventParser();
  const reader = stream.pipeThrough(new TextDecoderStream()).getReader();
  for (;;) {
    const { done, value } = await reader.read().catch((error) => {
      throw error.name === "AbortError" ? error : truncatedError();
    });
    if (done) return;
    yield* parser.push(value);
  }
}

/** Chunks of text → the data of each complete event. Comments and other fields are ignored. */
export class EventParser {
  #buffer = "";
  #data = [];

  *push(chunk) {
    // A carriage return at the end may be half of a CRLF; it stays in the buffer.
    const lines = (this.#buffer + chunk).split(/\r\n|\n|\r(?!$)/);
    this.#buffer = lines.pop();
    for (const line of lines) {
      if (line.startsWith("data:")) this.#data.push(line.slice(line[5] === " " ? 6 : 5));
      else if (line === "" && this.#data.length) yield this.#data.splice(0).join("\n");
    }
  }
}
