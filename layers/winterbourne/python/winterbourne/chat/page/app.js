// The chat page: its input form, the conversation that its URL names, and the answer that is being received.

import { Answer } from "./answer.js";
import { ChatError, ask, brokenOff, conversationRequest, decide, follow, requestStop } from "./chat.js";
import { conversationList } from "./conversation_list.js";
import { button, copyText, el } from "./dom.js";
import { apiKey } from "./key.js";
import { textOf, toExchanges } from "./turns.js";

const STOP_TIMEOUT_MS = 3000; // after this the request is aborted
const TITLE_DELAY_MS = 3000; // a model writes the title after the first answer
const ENDINGS = { done: "Answer complete", stopped: "Answer stopped", failed: "The answer failed" };

const [form, input, notice, log, status, hero, newButton, sendButton, stopButton] =
  ["composer", "question", "notice", "log", "status", "hero", "new", "send", "stop"]
    .map((id) => document.getElementById(id));
const root = document.documentElement;
const pageTitle = document.title;

let conversation = newConversation();
let active = null; // the AbortController of the answer that is being received
let loading = null; // that of the conversation that is being loaded, or could not be
let isAutoScrolling = false;

function newConversation() {
  return { id: randomId("c_"), exchanges: [] };
}

function randomId(prefix) {
  return prefix + Array.from(crypto.getRandomValues(new Uint32Array(4)), (part) => part.toString(36)).join("");
}

function submit(event) {
  event?.preventDefault();
  const question = input.value.trim();
  if (!question || active || loading) return;
  const { id, exchanges } = conversation;
  if (!exchanges.length) {
    log.replaceChildren();
    history.pushState(null, "", `#${id}`);
  }
  for (const node of log.querySelectorAll(".retry")) node.remove(); // asked again, it would drop what follows
  exchanges.at(-1)?.answer.closeAsked();
  const exchange = { message: { role: "user", id: randomId("u_"), content: [{ type: "text", text: question }] } };
  exchanges.push(exchange);
  setInput("");
  append(exchange);
  requestAnswer(exchange);
}

function append(exchange, options) {
  exchange.answer = new Answer(options);
  log.append(el("h2", { class: "question" }, textOf(exchange.message)), exchange.answer.node);
}

function replaceAnswer(exchange, options) {
  const { node } = exchange.answer;
  exchange.answer = new Answer(options);
  node.replaceWith(exchange.answer.node);
}

function requestAnswer(exchange) {
  notice.textContent = "";
  replaceAnswer(exchange);
  receive(exchange, ask, showKept);
}

Answer.onDecide = (decisions) => {
  if (active || loading) return false;
  const exchange = conversation.exchanges.at(-1);
  notice.textContent = "";
  const start = (id, options) => decide(id, options, exchange.answer.messageId, decisions);
  queueMicrotask(() => receive(exchange, start, showKept));
  return true;
};

async function receive(exchange, start, whenNothing) {
  const controller = active = new AbortController();
  const { signal } = controller;
  isAutoScrolling = true;
  render("Answering");
  try {
    let replays = start === follow;
    const onBreak = () => {
      replays ||= start !== ask;
      exchange.answer.interrupt();
    };
    for await (const frame of start(conversation.id, { signal, onBreak }, exchange.message)) {
      // What was kept of an answer gives way to its replay.
      if (replays && frame.type === "start") replaceAnswer(exchange, { isLive: false });
      if (frame.type === "error") throw new ChatError(frame.message);
      exchange.answer.handleFrame(frame);
    }
    if (active !== controller) return; // the user has gone elsewhere
    if (exchange.answer.isOver) showEnd(exchange.answer);
    else await whenNothing(exchange, signal);
  } catch (error) {
    if (active === controller) showError(error, exchange, start === ask || start === follow);
  } finally {
    controller.abort(); // closes a response that was not read whole
  }
}

// The stream is gone, but the answer may be kept.
async function showKept(_, signal) {
  show(await conversationRequest("GET", conversation.id, { signal }).catch(() => { throw brokenOff(); }));
}

function showEnd(answer) {
  setIdle(answer.asked.length ? "Waiting for your decision" : ENDINGS[answer.state]);
  const isFirst = conversation.exchanges.length === 1;
  conversationList.refresh(isFirst);
  if (isFirst) setTimeout(() => conversationList.refresh(true), TITLE_DELAY_MS);
  answer.sendDecisions();
}

function showError(error, exchange, isQuestion) {
  if (error.status === 409) return isQuestion ? giveWay(error, exchange) : load(); // something else goes on here
  const { answer } = exchange;
  if (error.name === "AbortError") answer.stop("user");
  else answer.fail(error.message, retryButtons(error, isQuestion && exchange));
  setIdle(ENDINGS[answer.state]);
}

// Another answer runs. It is shown, and the question goes back to where it was written.
async function giveWay(error, { message, answer }) {
  conversation.exchanges.pop();
  answer.node.previousSibling.remove();
  answer.node.remove();
  await load();
  if (conversation.exchanges.some((each) => each.message.id === message.id)) return; // it is the answer to this
  setInput([textOf(message), input.value].filter(Boolean).join("\n\n"));
  notice.textContent = error.message;
}

function retryButtons(error, exchange) {
  const again = () => exchange && !error.isBroken ? requestAnswer(exchange) : load();
  const waitMs = error.retryAfterS * 1000;
  const label = waitMs > 6e4 ? `Try again from ${new Date(Date.now() + waitMs).toLocaleTimeString()}` : "Try again";
  const retry = button(label, () => active || again(), { icon: "retry", class: "strong retry" });
  if (waitMs > 0) {
    retry.disabled = true;
    setTimeout(() => { retry.disabled = false; }, waitMs);
  }
  const changeKey = button("Use another key", async () => await apiKey.prompt("") && !active && again(),
    { class: "quiet retry" });
  return [401, 403].includes(error.status) ? [retry, changeKey] : [retry];
}

async function stopAnswer() {
  if (!active) return;
  const controller = active;
  status.textContent = "Stopping";
  setTimeout(() => controller.abort(), STOP_TIMEOUT_MS);
  if (!await requestStop(conversation.id)) controller.abort();
}

function openFromUrl() {
  const id = new URLSearchParams(`id=${location.hash.slice(1)}`).get("id"); // never throws
  if (!id) return show(newConversation());
  if (id === conversation.id) return;
  show({ id });
  load();
}

function startOver() {
  if (location.hash) history.pushState(null, "", location.pathname + location.search);
  show(newConversation());
  input.focus();
}

async function load() {
  leave();
  const { signal } = loading = new AbortController();
  render("Loading");
  try {
    const kept = await conversationRequest("GET", conversation.id, { signal });
    if (!signal.aborted) show(kept);
  } catch (error) {
    if (!signal.aborted) showLoadError(error);
  }
}

function leave() {
  active?.abort();
  loading?.abort();
  active = loading = null;
}

// Shows a conversation as the server keeps it, and follows its answer if that runs or has not ended.
function show({ id, title, messages = [], running }) {
  leave();
  conversation = { id, exchanges: toExchanges(messages) };
  const last = conversation.exchanges.at(-1);
  const isOpen = last && (running || !last.isComplete);
  setPageTitle(title);
  notice.textContent = "";
  log.ariaLive = "off"; // nobody wants all of it read out
  log.replaceChildren();
  for (const exchange of conversation.exchanges) showExchange(exchange, isOpen && exchange === last);
  isAutoScrolling = true;
  setIdle(title ?? "");
  setTimeout(() => { log.ariaLive = null; }, 1000);
  if (isOpen) receive(last, follow, endKept);
}

function showExchange(exchange, isOpen) {
  append(exchange, { isLive: false });
  exchange.answer.messageId = exchange.answerId;
  for (const frame of exchange.frames) exchange.answer.handleFrame(frame);
  const isOver = ({ approval }) => approval.expires_at_s * 1000 < Date.now();
  if (exchange !== conversation.exchanges.at(-1) || exchange.answer.asked.some(isOver)) exchange.answer.closeAsked();
  if (!isOpen) exchange.answer.endKept(exchange);
}

function endKept(exchange) {
  exchange.answer.endKept(exchange, retryButtons({}, exchange));
  setIdle("");
}

function showLoadError(error) {
  const answer = new Answer();
  log.querySelector(".answer:not(.question + *)")?.remove();
  log.append(answer.node);
  if (error.status === 404) {
    const begin = button("New conversation", startOver, { class: "strong" });
    answer.fail("There is no such conversation here, or no longer.", [begin]);
    [conversation, loading] = [newConversation(), null];
  } else answer.fail(error.message, retryButtons(error));
  render("");
}

// Another tab may have gone on with the conversation, or deleted it.
async function catchUp() {
  const { id, exchanges } = conversation;
  const last = exchanges.at(-1);
  if (document.hidden || active || loading || !last) return;
  const kept = await conversationRequest("GET", id).catch((error) => error);
  if (active || loading || conversation.id !== id) return;
  const isFailed = !last.answer.isOver; // and perhaps not kept
  if (kept.status === 404 && !isFailed) showLoadError(kept);
  if (kept instanceof Error) return;
  const isKept = kept.messages.some(({ id }) => id === last.message.id);
  const newest = toExchanges(kept.messages).at(-1);
  const isDecided = last.answer.asked.length && newest?.turns > last.answer.turns.list.length;
  const hasChanged = kept.running || newest?.message.id !== last.message.id || isDecided;
  if (isFailed ? isKept && (hasChanged || newest.isComplete) : hasChanged) show(kept);
}

function setPageTitle(title) {
  document.title = title ? `${title} · ${pageTitle}` : pageTitle;
}

function setIdle(text) {
  active = null;
  render(text);
}

function render(statusText) {
  root.dataset.running = active !== null;
  status.textContent = statusText;
  hero.hidden = log.hasChildNodes() || loading !== null;
  newButton.hidden = !hero.hidden;
  sendButton.hidden = active !== null;
  stopButton.hidden = active === null;
  conversationList.mark(conversation.id);
}

function setInput(text) {
  input.value = text;
  resizeInput();
}

function resizeInput() {
  input.style.height = "auto";
  input.style.height = `${input.scrollHeight}px`;
}

form.addEventListener("submit", submit);
input.addEventListener("input", resizeInput);
input.addEventListener("keydown", (event) => {
  // While an input method composes text, as for Japanese, Enter accepts that text.
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) submit(event);
});
addEventListener("keydown", (event) => {
  if (event.key === "Escape" && !document.querySelector("dialog[open]")) stopAnswer();
});
addEventListener("hashchange", openFromUrl);
document.addEventListener("visibilitychange", catchUp);
stopButton.addEventListener("click", stopAnswer);
newButton.addEventListener("click", startOver);
conversationList.onChange = ({ id, title }) => {
  if (id !== conversation.id) return;
  if (title === undefined) startOver();
  else setPageTitle(title);
};
hero.addEventListener("click", ({ target }) => {
  if (!target.matches(".suggestion")) return;
  setInput(target.textContent);
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
openFromUrl();
