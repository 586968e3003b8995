// Keeps conversations in this browser, and brings them along with each question: for a server that keeps nothing for long.

import { ChatError, toChatError } from "./chat.js";
import { browserStorage, config } from "./config.js";
import { archive } from "./history.js";
import { t } from "./strings.js";
import { isFinal } from "./turns.js";

const SAVE_MS = 1000; // at most so often while an answer comes
const BODY_MARGIN = 9000; // bytes of a request that are no messages
const INTERRUPTED = "This call was interrupted before it gave a result."; // as the server says it
const CLOSED = "winterbourne.deleted"; // when its page was closed
const STORES = ["summaries", "exchanges"];

const gone = new Set(); // ids of deleted conversations, of which an answer may still come
const channel = new BroadcastChannel("winterbourne");
channel.onmessage = ({ data: { id, isGone } }) => {
  if (isGone) gone.add(id);
  archive.onChange(id);
};

Object.assign(archive, {
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
    for (const exchange of kept.exchanges) {
      const { frames } = exchange;
      const isComplete = ["done", "stopped"].includes(frames.at(-1)?.type);
      Object.assign(exchange, { isComplete, turns: frames.length, answerId: frames[0]?.message_id });
    }
    return { ...summary, ...kept, running: running.includes(id) };
  },

  async rename(id, title) {
    const [summary] = await transact("readonly", (store) => [store.get(id)]);
    await transact("readwrite", (store) => [store.put({ ...summary, title })]);
    tell(id);
    return { id, title };
  },

  async delete(id, { keepalive }) {
    gone.add(id);
    if (keepalive) browserStorage[CLOSED] = id; // the database may have no time
    await archive.drop(id);
  },

  async drop(id) {
    await transact("readwrite", (...stores) => stores.map((store) => store.delete(id)));
    tell(id);
  },

  async begin(conversation) {
    const { id, updatedAt } = conversation;
    gone.delete(id); // asked on, it is kept again
    const release = await lock(id);
    const [kept] = await transact("readonly", (store) => [store.get(id)]).catch(() => []); // then saving tells
    if (kept && kept.updated_at !== updatedAt) {
      release();
      throw toChatError({ code: "conversation_changed" }, 409);
    }
    await save(conversation);
    return release;
  },

  async keep(conversation, isNow) {
    if (isNow) return save(conversation);
    conversation.timer ||= setTimeout(save, SAVE_MS, conversation);
  },

  body: ({ exchanges }) => ({ messages: fit(exchanges) }),
});

const tell = (id) => channel.postMessage({ id, isGone: gone.has(id) });

const busy = () => toChatError({ code: "conversation_busy" }, 409);

// The newest of it that there is room for: what was said long ago must not make a question fail.
function fit(exchanges) {
  let room = config.limits.body - BODY_MARGIN;
  const fitted = [];
  for (const exchange of exchanges.toReversed()) {
    const messages = messagesOf(exchange);
    room -= new Blob([JSON.stringify(messages)]).size;
    if (room < 0 && fitted.length) break;
    fitted.unshift(...messages);
  }
  return fitted;
}

// A question and its answer as a request has them. Thoughts need their maker's signature, which the page is not told.
function messagesOf({ message, frames }) {
  const [messages, calls] = [[message], {}];
  let content;
  const add = (part) => {
    if (!content) messages.push({ role: "assistant", id: frames[0].message_id, content: content = [] });
    content.push(part);
    return part;
  };
  for (const { type, delta, ...frame } of frames) {
    if (type === "start" || type === "turn") content = null;
    if (type === "content") add({ type: "text", text: cut(delta) });
    if (type === "retract") content?.splice(0);
    if (type !== "tool_call") continue;
    const { id, name, approval } = frame;
    const call = calls[id] ??= add({ type, id, name, approval });
    call.arguments = frame.arguments ?? call.arguments ?? "";
    if (isFinal(frame)) messages.push(resultOf(frame));
  }
  return messages;
}

const cut = (text) => text.slice(0, config.limits.chars);

function resultOf({ id, name, status, result, error = INTERRUPTED }) {
  const isError = status !== "completed";
  return { role: "tool", tool_call_id: id, name, content: isError ? error : cut(JSON.stringify(result) ?? ""), is_error: isError };
}

// Unless another tab has saved something newer.
async function save(conversation) {
  clearTimeout(conversation.timer);
  conversation.timer = 0;
  const { id, updatedAt = 0 } = conversation;
  if (gone.has(id)) return;
  const exchanges = conversation.exchanges.map(({ message, frames }) => ({ message, frames }));
  const now = conversation.updatedAt = Math.max(Date.now(), updatedAt + 1);
  await transact("readwrite", (summaries, kept) => {
    const before = summaries.get(id);
    before.onsuccess = () => {
      const { title = titleOf(exchanges[0].message), updated_at: other = 0 } = before.result ?? {};
      if (other > updatedAt) return;
      summaries.put({ id, title, updated_at: now });
      kept.put({ id, exchanges });
    };
    return [before];
  }).then(() => tell(id), archive.onFailure);
}

function titleOf({ content }) {
  return content.map(({ text }) => text ?? "").join(" ").trim().split("\n")[0].slice(0, 80);
}

let database;

function openDatabase() {
  const request = indexedDB.open(`winterbourne ${location.pathname}`, 1);
  request.onupgradeneeded = () => {
    for (const name of STORES) request.result.createObjectStore(name, { keyPath: "id" });
  };
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = reject;
  });
}

// The results of the requests that `use` makes of the two stores, once they are written.
async function transact(mode, use) {
  try {
    const transaction = (await (database ??= openDatabase())).transaction(STORES, mode);
    const requests = use(...STORES.map((name) => transaction.objectStore(name)));
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

if (browserStorage[CLOSED]) archive.delete(browserStorage[CLOSED], {}).then(() => browserStorage.removeItem(CLOSED), () => {});
