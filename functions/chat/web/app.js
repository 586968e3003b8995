// The page: what is typed, what is asked, what is running. Everything with a shape of its own is in a module of its own.

import { Answer, retryButton } from "./answer.js";
import { ChatError, ask, stop } from "./chat.js";
import { button, copy, el } from "./dom.js";
import { key } from "./key.js";

const STOP_PATIENCE_MS = 3000; // a stop is heard within a second; after this the line is cut

const $ = (id) => document.getElementById(id);
const [form, input, log, status, hero] = ["composer", "question", "log", "status", "hero"].map($);

let conversation = begin();
let running = null; // {answer, abort} while an answer is on its way
let following = true; // whether the newest words are kept in view

function begin() {
  const random = crypto.getRandomValues(new Uint8Array(12));
  return { id: `c_${Array.from(random, (byte) => byte.toString(16).padStart(2, "0")).join("")}`, exchanges: [] };
}

// Asking

function submit() {
  const question = input.value.trim();
  if (!question || running) return;
  input.value = "";
  fit();
  const exchange = { question, answer: null };
  conversation.exchanges.push(exchange);
  log.append(el("article", { class: "question", "aria-label": "Question" }, el("p", {}, question)));
  answer(exchange);
}

async function answer(exchange) {
  const previous = exchange.answer;
  const now = new Answer();
  exchange.answer = now;
  if (previous) previous.node.replaceWith(now.node);
  else log.append(now.node);
  running = { answer: now, abort: new AbortController() };
  following = true;
  show("Answering");
  try {
    await listen(exchange, running);
  } catch (error) {
    await broke(error, exchange);
  }
}

async function listen(exchange, { answer: now, abort }) {
  const body = { conversation_id: conversation.id, messages: messagesUntil(exchange) };
  for await (const frame of ask(body, { key: key.value, signal: abort.signal })) {
    if (frame.type === "error") throw new ChatError(frame.message, frame);
    now.take(frame);
  }
  rest(now.state === "stopped" ? "Answer stopped" : "Answer complete");
}

function messagesUntil(exchange) {
  const { exchanges } = conversation;
  return exchanges.slice(0, exchanges.indexOf(exchange) + 1).flatMap(({ question, answer: given }) => [
    { role: "user", content: question },
    ...given.turns.messages(given.state !== "done"),
  ]);
}

async function broke(error, exchange) {
  if (!log.contains(exchange.answer.node)) return; // the conversation was put away meanwhile
  if (error.name === "AbortError") exchange.answer.stopped("user");
  else exchange.answer.fail(error.message, mendings(error, exchange));
  rest(error.name === "AbortError" ? "Answer stopped" : "The answer failed");
  if (error.status === 401 && await key.ask(error.message)) answer(exchange);
}

function mendings(error, exchange) {
  const again = retryButton(() => running || answer(exchange));
  if (error.retryAfterS > 0) {
    again.disabled = true;
    setTimeout(() => { again.disabled = false; }, error.retryAfterS * 1000);
  }
  const other = () => key.ask("").then((given) => given && !running && answer(exchange));
  return [again, ...([401, 403].includes(error.status) ? [button("Use another key", other)] : [])];
}

async function halt() {
  if (!running) return;
  const { answer: now, abort } = running;
  show("Stopping");
  setTimeout(() => now === running?.answer && abort.abort(), STOP_PATIENCE_MS);
  if (!await stop(conversation.id, { key: key.value })) abort.abort();
}

// Showing

function show(text) {
  document.documentElement.dataset.running = String(running !== null);
  status.textContent = text;
  hero.hidden = conversation.exchanges.length > 0;
  $("new").hidden = !hero.hidden;
  $("send").hidden = running !== null;
  $("stop").hidden = running === null;
}

function rest(text) {
  running = null;
  show(text);
}

function fit() {
  input.style.height = "auto";
  input.style.height = `${input.scrollHeight}px`;
}

function follow() {
  if (following) scrollTo({ top: document.documentElement.scrollHeight });
}

function startOver() {
  running?.abort.abort();
  log.replaceChildren();
  conversation = begin();
  rest("New conversation");
  input.focus();
}

// Listening

form.addEventListener("submit", (event) => {
  event.preventDefault();
  submit();
});
input.addEventListener("input", fit);
input.addEventListener("keydown", (event) => {
  // While a word is being composed, as in Japanese, Enter takes the word and sends nothing.
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  submit();
});
addEventListener("keydown", (event) => {
  if (event.key === "Escape" && !key.isAsking) halt();
});
addEventListener("scroll", () => {
  following = innerHeight + scrollY >= document.documentElement.scrollHeight - 80;
}, { passive: true });
$("stop").addEventListener("click", halt);
$("new").addEventListener("click", startOver);
for (const suggestion of document.querySelectorAll(".suggestion")) {
  suggestion.addEventListener("click", () => {
    input.value = suggestion.textContent.trim();
    submit();
  });
}
log.addEventListener("click", ({ target }) => {
  const asked = target.closest("[data-copy]");
  if (asked) copy(asked.closest(".code").querySelector("code").textContent, asked);
});
new ResizeObserver(follow).observe(log);
show("");
