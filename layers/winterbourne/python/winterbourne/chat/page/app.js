// The page: what is typed, what is asked, what is running. All that has a shape of its own is in a module of its own.

import { Answer } from "./answer.js";
import { ChatError, ask, stop } from "./chat.js";
import { button, copy, el } from "./dom.js";
import { key } from "./key.js";

const STOP_PATIENCE_MS = 3000; // a stop is heard within a second; after this the line is cut

const [form, input, log, status, hero, fresh, send, halt] =
  ["composer", "question", "log", "status", "hero", "new", "send", "stop"].map((id) => document.getElementById(id));

let conversation = begin();
let running = null; // {answer, abort} while an answer is on its way
let following = false; // whether the newest words are kept in view

function begin() {
  const random = Array.from(crypto.getRandomValues(new Uint32Array(4)), (part) => part.toString(36));
  return { id: `c_${random.join("")}`, exchanges: [] };
}

function submit() {
  const question = input.value.trim();
  if (!question || running) return;
  const exchange = { question, answer: null };
  conversation.exchanges.push(exchange);
  log.append(el("h2", { class: "question" }, question));
  input.value = "";
  fit();
  answer(exchange);
}

async function answer(exchange) {
  const previous = exchange.answer;
  exchange.answer = new Answer();
  if (previous) previous.node.replaceWith(exchange.answer.node);
  else log.append(exchange.answer.node);
  const abort = new AbortController();
  running = { answer: exchange.answer, abort };
  following = true;
  show("Answering");
  try {
    await listen(exchange, running);
  } catch (error) {
    broke(error, exchange);
  } finally {
    abort.abort(); // what was not read to its end is closed
  }
}

async function listen(exchange, { answer: now, abort }) {
  const body = { conversation_id: conversation.id, messages: messagesUntil(exchange) };
  for await (const frame of ask(body, { key: key.value, signal: abort.signal })) {
    if (frame.type === "error") throw new ChatError(frame.message, { code: frame.code });
    now.take(frame);
  }
  rest(now.state === "stopped" ? "Answer stopped" : "Answer complete");
}

function messagesUntil(last) {
  const { exchanges } = conversation;
  return exchanges.slice(0, exchanges.indexOf(last) + 1).flatMap(({ question, answer: given }, number) => [
    { role: "user", content: question },
    ...given.turns.messages(number, given.state !== "done"),
  ]);
}

function broke(error, exchange) {
  if (!conversation.exchanges.includes(exchange)) return; // it was put away meanwhile
  if (error.name === "AbortError") exchange.answer.stop("user");
  else exchange.answer.fail(error.message, mendings(error, exchange));
  rest(exchange.answer.state === "stopped" ? "Answer stopped" : "The answer failed");
  if (error.status === 401) askForKey(key.value && error.message, exchange);
}

function mendings(error, exchange) {
  const again = button("Try again", () => running || answer(exchange), { name: "retry", class: "strong" });
  if (error.retryAfterS > 0) {
    again.disabled = true;
    setTimeout(() => { again.disabled = false; }, error.retryAfterS * 1000);
  }
  const other = button("Use another key", () => askForKey("", exchange));
  return [401, 403].includes(error.status) ? [again, other] : [again];
}

async function askForKey(why, exchange) {
  if (await key.ask(why) && !running) answer(exchange);
}

async function stopRunning() {
  if (!running) return;
  const { answer: now, abort } = running;
  status.textContent = "Stopping";
  setTimeout(() => now === running?.answer && abort.abort(), STOP_PATIENCE_MS);
  if (!await stop(conversation.id, { key: key.value })) abort.abort();
}

function startOver() {
  running?.abort.abort();
  log.replaceChildren();
  conversation = begin();
  rest("New conversation");
  input.focus();
}

function rest(text) {
  running = null;
  show(text);
}

function show(text) {
  document.documentElement.dataset.running = running !== null;
  status.textContent = text;
  hero.hidden = conversation.exchanges.length > 0;
  fresh.hidden = !hero.hidden;
  send.hidden = running !== null;
  halt.hidden = running === null;
}

function fit() {
  input.style.height = "auto";
  input.style.height = `${input.scrollHeight}px`;
}

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
addEventListener("keydown", (event) => event.key === "Escape" && stopRunning());
halt.addEventListener("click", stopRunning);
fresh.addEventListener("click", startOver);
hero.addEventListener("click", ({ target }) => {
  if (!target.matches(".suggestion")) return;
  input.value = target.textContent;
  submit();
});
log.addEventListener("click", ({ target }) => {
  const asked = target.closest("[data-copy]");
  if (asked) copy(asked.closest(".code").querySelector("code").textContent, asked);
});
addEventListener("scroll", () => {
  following = innerHeight + scrollY >= document.documentElement.scrollHeight - 80;
}, { passive: true });
new ResizeObserver(() => following && scrollTo(0, document.documentElement.scrollHeight)).observe(log);
show("");
