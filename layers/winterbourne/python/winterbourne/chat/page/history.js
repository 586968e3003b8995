// Where conversations are kept: on the server if that outlasts it, else in this browser, which then brings them along.

import { ChatError, conversationRequest, listConversations, toChatError } from "./chat.js";
import { config } from "./config.js";
import { t } from "./strings.js";

const SAVE_MS = 1000; // at most so often while an answer comes
const BODY_MARGIN = 9000; // bytes of a request that are no messages
const INTERRUPTED = "This call was interrupted before it gave a result."; // as the server says it

const gone = new Set(); // ids of deleted conversations, of which an answer may still come
const channel = new BroadcastChannel("winterbourne");

const onServer = {
  list: listConversations,
  get: (id, options) => conversationRequest("GET", id, options),
  rename: (id, title) => conversationRequest("PATCH", id, { body: { title } }),
  delete: (id, options) => conversationRequest("DELETE", id, options),

  /** Make sure that only this tab asks now; resolves to what ends that. */
  begin: async () => () => {},

  /** Keep what is new, soon or now. */
  async keep() {},

  /** What a request says of the conversation and its last question. */
  body: ({ exchanges }, isDecision) => ({ store: true, messages: isDecision ? [] : [exchanges.at(-1).message] }),
};

const inBrowser = {
  isLocal: true,

  async list() {
    const [[summaries], running] = await Promise.all([transact("readonly", (store) => [store.getAll()]), runningIds()]);
    const conversations = summaries.map((each) => ({ ...each, running: running.includes(each.id) }));
    return { conversations: conversations.sort((a, b) => b.updated_at - a.updated_at), next: null };
  },

  async get(id) {
    const [[summary, kept], running] =
      await Promise.all([transact("readonly", (...stores) => stores.map((store) => store.get(id))), runningIds()]);
    if (!summary) throw toChatError({ code: "conversation_not_found" }, 404);
    return { ...summary, ...kept, running: running.includes(id) };
  },

  async rename(id, title) {
    const renamed = { ...await inBrowser.get(id), title };
    delete renamed.messages;
    await transact("readwrite", (store) => [store.put(renamed)]);
    tell(id);
    return renamed;
  },

  async delete(id) {
    gone.add(id);
    await inBrowser.drop(id);
  },

  async drop(id) {
    await transact("readwrite", (...stores) => stores.map((store) => store.delete(id)));
    tell(id);
  },

  async begin(conversation) {
    const { id, updatedAt } = conversation;
    const release = await lock(id);
    const [kept] = await transact("readonly", (store) => [store.get(id)]).catch(() => []); // then saving tells
    if (kept && kept.updated_at !== updatedAt) {
      release();
      throw busy();
    }
    await save(conversation);
    return release;
  },

  async keep(conversation, isNow) {
    if (isNow) return save(conversation);
    conversation.timer ||= setTimeout(save, SAVE_MS, conversation);
  },

  body: ({ exchanges }) => ({ messages: fit(exchanges) }),
};

/**
 * A conversation is {id, title, exchanges}; an exchange has a question and `answers`, the messages that answer it.
 * `archive.onFailure` is called with an error if they cannot be kept.
 */
export const archive = config.isDurable ? onServer : inBrowser;

/** Call `whenChanged` with the id of a conversation that another tab has changed. */
export function watchOthers(whenChanged) {
  channel.onmessage = ({ data }) => whenChanged(data);
}

const tell = (id) => channel.postMessage(id);

const busy = () => toChatError({ code: "conversation_busy" }, 409);

/** Record a frame of an answer in `exchange.answers`, as the server keeps it. */
export function record(exchange, { type, delta, ...frame }) {
  const { answers } = exchange;
  const begin = () => {
    delete answers.at(-1)?.incomplete;
    const turn = { role: "assistant", id: exchange.answerId, parts: [], incomplete: true };
    answers.push(turn);
    return turn;
  };
  const turn = () => answers.findLast(({ role }) => role === "assistant") ?? begin();
  switch (type) {
    case "start": exchange.answerId = frame.message_id; break;
    case "turn": begin(); break;
    case "retract": turn().parts = turn().parts.filter(isCall); break;
    case "content": case "reasoning":
      addText(answers.at(-1)?.role === "tool" ? begin() : turn(), type === "content" ? "text" : type, delta); break;
    case "source": turn().parts.push({ type, ...frame }); break;
    case "tool_call": recordCall(answers, turn, frame); break;
    case "done":
      turn().usage = frame.usage;
      delete turn().incomplete;
  }
}

const isCall = ({ type }) => type === "tool_call";

function addText({ parts }, type, delta) {
  const last = parts.at(-1);
  if (last?.type === type) last.text += delta;
  else parts.push({ type, text: delta });
}

function recordCall(answers, turn, { id, name, status, arguments: given = "", approval, result, error }) {
  let call = answers.flatMap(({ parts = [] }) => parts).find((part) => isCall(part) && part.id === id);
  if (!call) turn().parts.push(call = { type: "tool_call", id, name, approval });
  call.arguments ||= given;
  if (["queued", "started", "progress", "approval_requested"].includes(status)) return;
  const isError = status !== "completed";
  const content = isError ? error ?? INTERRUPTED : JSON.stringify(result) ?? "";
  answers.push({ role: "tool", tool_call_id: id, name, content, is_error: isError });
}

// The newest of it that there is room for: what was said long ago must not make a question fail.
function fit(exchanges) {
  let room = config.limits.body - BODY_MARGIN;
  const fitted = [];
  for (const { message, answers } of exchanges.toReversed()) {
    const said = answers.map(toSent);
    const messages = [[message, ...said], [withoutFiles(message), ...said]].find((each) => sizeOf(each) < room);
    if (!messages && fitted.length) break;
    fitted.unshift(...messages ?? [message]);
    room -= sizeOf(messages ?? []);
  }
  return fitted;
}

const sizeOf = (messages) => new Blob([JSON.stringify(messages)]).size;

const cut = (text) => text.slice(0, config.limits.chars);

// Thoughts need their maker's signature, which the page is not told.
function toSent({ role, id, parts, usage, content, ...message }) {
  if (role === "tool") return { ...message, role, content: cut(content) };
  const said = parts.filter(({ type }) => type === "text" || type === "tool_call");
  return { ...message, role, id, content: said.map((part) => isCall(part) ? part : { ...part, text: cut(part.text) }) };
}

function withoutFiles(message) {
  const content = message.content.map(({ type, text, name }) => ({ type: "text", text: text ?? `[${name || type}]` }));
  return { ...message, content };
}

// Unless another tab has saved something newer.
async function save(conversation) {
  clearTimeout(conversation.timer);
  conversation.timer = 0;
  const { id, exchanges, updatedAt = 0 } = conversation;
  if (gone.has(id)) return;
  const messages = exchanges.flatMap(({ message: { content, ...message }, answers }) => [{ ...message, parts: content }, ...answers]);
  const now = conversation.updatedAt = Math.max(Date.now(), updatedAt + 1);
  await transact("readwrite", (summaries, kept) => {
    const before = summaries.get(id);
    before.onsuccess = () => {
      const { title = titleOf(messages[0]), updated_at: other = 0 } = before.result ?? {};
      if (other > updatedAt) return;
      summaries.put({ id, title, updated_at: now });
      kept.put({ id, messages });
    };
    return [before];
  }).then(() => tell(id), archive.onFailure);
}

function titleOf({ parts }) {
  return parts.map(({ text }) => text ?? "").join(" ").trim().split("\n")[0].slice(0, 80);
}

let database;

function open() {
  const request = indexedDB.open("winterbourne", 1);
  request.onupgradeneeded = () => {
    for (const name of ["summaries", "messages"]) request.result.createObjectStore(name, { keyPath: "id" });
  };
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = reject;
  });
}

// The results of the requests that `use` makes of the two stores, once they are written.
async function transact(mode, use) {
  try {
    const transaction = (await (database ??= open())).transaction(["summaries", "messages"], mode);
    const requests = use(transaction.objectStore("summaries"), transaction.objectStore("messages"));
    await new Promise((resolve, reject) => {
      transaction.oncomplete = resolve;
      transaction.onabort = reject;
    });
    return requests.map(({ result }) => result);
  } catch {
    throw new ChatError(t("errors.notKept"), { mayPass: true });
  }
}

// Held as long as a tab receives an answer. On http, browsers have none.
function lock(id) {
  if (!navigator.locks) return () => {};
  return new Promise((resolve, reject) => {
    navigator.locks.request(`winterbourne ${id}`, { ifAvailable: true }, (held) => (
      held ? new Promise(resolve) : reject(busy())
    )).catch(reject);
  });
}

async function runningIds() {
  const { held = [] } = await navigator.locks?.query() ?? {};
  return held.map(({ name }) => name.split(" ")[1]);
}
