// Client of the native chat API: answers, and kept conversations. Asks for the key if one is needed.

import { config } from "./config.js";
import { credentials } from "./credentials.js";
import { on } from "./dom.js";
import { signedFetch } from "./signed_fetch.js";
import { t } from "./strings.js";

const WAITS_MS = [500, 1000, 2000, 4000, 8000, 15000]; // before each try to resume
const SILENCE_MS = 45_000; // heartbeats come sooner

// What is told in the same words, and what a front end means that gives no code.
const WORDS = {
  403: "forbidden", 413: "too_large",
  429: "rate_limited", body_too_large: "too_large", message_too_long: "too_large", document_too_large: "too_large",
  too_many_documents: "too_many_images", unsupported_media: "invalid_document", invalid_image: "invalid_document",
  document_url_not_allowed: "invalid_document", image_url_not_allowed: "invalid_document",
  too_many_messages: "context_length_exceeded", model_unreachable: "model_busy", model_silent: "model_busy",
};
// Of what a stream may end with: asking the same again cannot help.
const REFUSALS = ["context_length_exceeded", "content_policy_violation", "invalid_image", "invalid_document", "model_refused"];

/**
 * An error with a message for the reader; with HTTP `status` and `retryAfterS` if known, `isRefusal` if trying again
 * cannot help, and `reference`, by which whoever runs the chat finds an error that is not the reader's.
 */
export class ChatError extends Error {
  constructor(message, details) {
    super(message);
    Object.assign(this, details);
  }
}

export const brokenOff = () => new ChatError(t("errors.broken"), { isBroken: true });

/** What an error of the server's means for the reader: of a response with this status, or without one, of a stream. */
export function toChatError({ code, request_id: requestId }, status, retryAfterS) {
  const mayPass = status === 429 || status >= 500;
  const isRefusal = status ? !mayPass && ![401, 403, 409].includes(status) : REFUSALS.includes(code);
  const words = [code, WORDS[code], WORDS[status], isRefusal ? "refused" : "failed"].find((key) => config.strings.errors[key]);
  const isUnknown = status === 401 || status === 403 && !credentials.changeLabel;
  const reference = !isUnknown && ["refused", "failed"].includes(words) && requestId;
  return new ChatError(isUnknown ? credentials.refusal : t(`errors.${words}`), { status, mayPass, isRefusal, retryAfterS, reference });
}

/** Ask in a conversation, with what its `archive` says. Yields the answer's frames, also over a connection that breaks. */
export function ask(id, options, fields) {
  const body = { conversation_id: id, approvals: true, retractions: true, ...fields };
  return streamFrames(() => request("POST", "chat", { body, signal: options.signal }), id, options);
}

/** Go on with an answer after a person's decisions. If the connection breaks, all of it comes again from its start. */
export function decide(id, options, fields) {
  return ask(id, { ...options, isPart: true }, fields);
}

/** Yields the frames of the conversation's last answer, from its start; none if there is nothing to follow. */
export function follow(id, options) {
  return streamFrames(() => resume(id, 0, options), id, options);
}

// If a response is null, there is nothing to follow, and the frames end before a final one.
async function* streamFrames(open, id, { signal, onBreak, isPart }) {
  let [count, tries, answer, response] = [0, 0, "", await open()];
  while (response) {
    try {
      let last;
      for await (const [number, frame] of readFrames(response.body)) {
        if (answer && frame.type === "start" && frame.message_id !== answer) throw brokenOff(); // a later one
        [count, tries, last, answer] = [number || count + 1, 0, frame, answer || frame.message_id];
        yield frame;
      }
      if (["done", "error", "stopped"].includes(last?.type)) return;
    } catch (error) {
      if (signal.aborted || error.isBroken) throw error;
    }
    do {
      if (tries === WAITS_MS.length) throw brokenOff();
      onBreak();
      await pause(WAITS_MS[tries++], signal);
      response = await resume(id, isPart ? 0 : count, { signal }, answer).catch((error) => { if (!error.mayPass) throw error; });
    } while (response === undefined);
  }
}

// A page that is hidden or offline waits until that is over.
function pause(ms, signal) {
  signal.throwIfAborted();
  const over = new AbortController();
  return new Promise((resolve, reject) => {
    const wake = () => navigator.onLine && !document.hidden && resolve();
    setTimeout(wake, ms);
    addEventListener("online", wake, { signal: over.signal });
    on(document, "visibilitychange", wake, { signal: over.signal });
    on(signal, "abort", () => reject(signal.reason), { signal: over.signal });
  }).finally(() => over.abort());
}

/** The number (or 0) and the data of each frame, as this server writes them. Comments are ignored. */
export async function* readFrames(stream) {
  const reader = stream.pipeThrough(new TextDecoderStream()).getReader();
  let [heardAt, buffer] = [Date.now(), ""];
  const watch = setInterval(() => Date.now() - heardAt > SILENCE_MS && reader.cancel(), 5000);
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      heardAt = Date.now();
      const blocks = (buffer + value).split("\n\n");
      buffer = blocks.pop();
      for (const block of blocks) {
        const [, id, data] = /^(?:id: (\d+)\n)?data: ([^\n]*)/m.exec(block) ?? [];
        if (data) yield [Number(id ?? 0), JSON.parse(data)];
      }
    }
  } finally {
    clearInterval(watch);
  }
}

async function resume(id, count, { signal }, answer) {
  const headers = count ? { "last-event-id": String(count) } : {};
  const url = `chat/${encodeURIComponent(id)}/stream${count ? `?answer=${encodeURIComponent(answer)}` : ""}`;
  const response = await request("GET", url, { headers, signal });
  return response.status === 204 ? null : response;
}

/** Request that an answer stop: its stream ends with a stopped frame. Resolves to whether that was accepted. */
export function requestStop(id) {
  return request("POST", `chat/${encodeURIComponent(id)}/stop`, { body: {} }).then(() => true, () => false);
}

/** `conversations`, newest first, and `next`, the cursor of more. */
export async function listConversations(after = "", limit = 30) {
  return (await request("GET", `conversations?limit=${limit}&after=${encodeURIComponent(after)}`)).json();
}

/** GET, DELETE or (with `body`) PATCH a conversation. */
export async function conversationRequest(method, id, options) {
  const response = await request(method, `conversations/${encodeURIComponent(id)}`, options);
  return response.status === 204 ? null : response.json();
}

async function request(method, url, { body, headers = {}, isAgain, ...options } = {}) {
  if (body) headers["content-type"] = "application/json";
  const send = options.keepalive ? fetch : signedFetch; // a page that is closed has no time for a digest
  const response = await credentials.headers().then((shown) => (
    send(url, { method, headers: { ...headers, ...shown }, body: body && JSON.stringify(body), ...options })
  )).catch((error) => {
    throw error.name === "AbortError" ? error : new ChatError(t("errors.unreachable"), { mayPass: true });
  });
  if (response.ok) return response;
  const error = await toError(response);
  const renewed = error.status === 401 && await credentials.renew(isAgain).catch(() => {
    throw new ChatError(t("errors.unreachable"), { mayPass: true });
  });
  if (!renewed) throw error;
  return request(method, url, { body, headers, ...options, isAgain: true });
}

async function toError(response) {
  const { error } = await response.json().catch(() => ({}));
  return toChatError(error ?? {}, response.status, Number(response.headers.get("retry-after")));
}
