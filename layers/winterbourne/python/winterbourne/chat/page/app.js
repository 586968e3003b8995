// The chat page: its input form, the current conversation and the active request.

import { Answer } from "./answer.js";
import { ChatError, requestStop, streamFrames } from "./chat.js";
import { button, copyText, el } from "./dom.js";
import { apiKey } from "./key.js";

const STOP_TIMEOUT_MS = 3000; // after this the request is aborted

const [form, input, log, status, hero, newButton, sendButton, stopButton] =
  ["composer", "question", "log", "status", "hero", "new", "send", "stop"].map((id) => document.getElementById(id));
const root = document.documentElement;

let conversation = newConversation();
let active = null; // the AbortController of the request in flight
let isAutoScrolling = false;

function newConversation() {
  const random = Array.from(crypto.getRandomValues(new Uint32Array(4)), (part) => part.toString(36));
  return { id: `c_${random.join("")}`, exchanges: [] };
}

function handleSubmit(event) {
  event.preventDefault();
  submit();
}

function submit() {
  const question = input.value.trim();
  if (!question || active) return;
  const exchange = { question, answer: null };
  conversation.exchanges.push(exchange);
  log.append(el("h2", { class: "question" }, question));
  input.value = "";
  resizeInput();
  requestAnswer(exchange);
}

async function requestAnswer(exchange) {
  const previous = exchange.answer;
  exchange.answer = new Answer();
  if (previous) previous.node.replaceWith(exchange.answer.node);
  else log.append(exchange.answer.node);
  const controller = active = new AbortController();
  isAutoScrolling = true;
  render("Answering");
  try {
    await streamAnswer(exchange, controller.signal);
  } catch (error) {
    showError(error, exchange);
  } finally {
    controller.abort(); // closes a response that was not read to its end
  }
}

async function streamAnswer(exchange, signal) {
  const { answer } = exchange;
  const body = { conversation_id: conversation.id, messages: messagesUpTo(exchange) };
  for await (const frame of streamFrames(body, { key: apiKey.value, signal })) {
    if (frame.type === "error") throw new ChatError(frame.message);
    answer.handleFrame(frame);
  }
  setIdle(answer.state === "stopped" ? "Answer stopped" : "Answer complete");
}

function messagesUpTo(last) {
  const { exchanges } = conversation;
  return exchanges.slice(0, exchanges.indexOf(last) + 1).flatMap(({ question, answer }, index) => [
    { role: "user", content: question },
    ...answer.turns.toMessages(index, answer.state !== "done"),
  ]);
}

function showError(error, exchange) {
  if (!conversation.exchanges.includes(exchange)) return; // of an earlier conversation
  const { answer } = exchange;
  if (error.name === "AbortError") answer.stop("user");
  else answer.fail(error.message, retryButtons(error, exchange));
  setIdle(answer.state === "stopped" ? "Answer stopped" : "The answer failed");
  if (error.status === 401) promptForKey(apiKey.value && error.message, exchange);
}

function retryButtons(error, exchange) {
  const retry = button("Try again", () => active || requestAnswer(exchange), { icon: "retry", class: "strong" });
  if (error.retryAfterS > 0) {
    retry.disabled = true;
    setTimeout(() => { retry.disabled = false; }, error.retryAfterS * 1000);
  }
  const changeKey = button("Use another key", () => promptForKey("", exchange));
  return [401, 403].includes(error.status) ? [retry, changeKey] : [retry];
}

async function promptForKey(reason, exchange) {
  if (await apiKey.prompt(reason) && !active) requestAnswer(exchange);
}

async function stopAnswer() {
  if (!active) return;
  const controller = active;
  status.textContent = "Stopping";
  setTimeout(() => controller.abort(), STOP_TIMEOUT_MS);
  if (!await requestStop(conversation.id, { key: apiKey.value })) controller.abort();
}

function startOver() {
  active?.abort();
  log.replaceChildren();
  conversation = newConversation();
  setIdle("New conversation");
  input.focus();
}

function setIdle(text) {
  active = null;
  render(text);
}

function render(statusText) {
  root.dataset.running = active !== null;
  status.textContent = statusText;
  hero.hidden = conversation.exchanges.length > 0;
  newButton.hidden = !hero.hidden;
  sendButton.hidden = active !== null;
  stopButton.hidden = active === null;
}

function resizeInput() {
  input.style.height = "auto";
  input.style.height = `${input.scrollHeight}px`;
}

form.addEventListener("submit", handleSubmit);
input.addEventListener("input", resizeInput);
input.addEventListener("keydown", (event) => {
  // While an input method composes text, as for Japanese, Enter accepts that text.
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) handleSubmit(event);
});
addEventListener("keydown", (event) => event.key === "Escape" && stopAnswer());
stopButton.addEventListener("click", stopAnswer);
newButton.addEventListener("click", startOver);
hero.addEventListener("click", ({ target }) => {
  if (!target.matches(".suggestion")) return;
  input.value = target.textContent;
  submit();
});
log.addEventListener("click", ({ target }) => {
  const copyButton = target.closest("[data-copy]");
  if (copyButton) copyText(copyButton.closest(".code").querySelector("code").textContent, copyButton);
});
addEventListener("scroll", () => {
  isAutoScrolling = innerHeight + scrollY >= root.scrollHeight - 80;
}, { passive: true });
new ResizeObserver(() => isAutoScrolling && scrollTo(0, root.scrollHeight)).observe(log);
render("");
