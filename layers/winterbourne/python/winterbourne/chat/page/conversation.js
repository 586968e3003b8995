// The conversation that is shown: what is asked and answered in it, from asking until it is left or loaded anew.

import { Answer } from "./answer.js";
import { ChatError, ask, brokenOff, conversationRequest, decide, follow, requestStop } from "./chat.js";
import { composer, questionNode, randomId } from "./composer.js";
import { conversationList } from "./conversation_list.js";
import { credentials } from "./credentials.js";
import { button } from "./dom.js";
import { followEnd } from "./scrolling.js";
import { formatDate, t } from "./strings.js";
import { toExchanges } from "./turns.js";

const STOP_TIMEOUT_MS = 3000; // after this the request is aborted
const TITLE_DELAY_MS = 3000; // a model writes the title after the first answer

const [log, status, hero, newButton] = ["log", "status", "hero", "new"].map((id) => document.getElementById(id));
const root = document.documentElement;
const pageTitle = document.title;

let conversation = newConversation();
let active = null; // the AbortController of the answer that is being received
let loading = null; // that of the conversation that is being loaded, or could not be

function newConversation() {
  return { id: randomId("c_"), exchanges: [] };
}

/** Ask in this conversation; returns whether it can be asked now. */
composer.onSubmit = (message) => {
  if (active || loading) return false;
  const { id, exchanges } = conversation;
  if (!exchanges.length) {
    log.replaceChildren();
    history.pushState(null, "", `#${id}`);
  }
  for (const node of log.querySelectorAll(".retry")) node.remove(); // asked again, it would drop what follows
  exchanges.at(-1)?.answer.closeAsked();
  const exchange = { message };
  exchanges.push(exchange);
  append(exchange);
  requestAnswer(exchange);
  return true;
};

composer.onStop = stopAnswer;

function append(exchange, options) {
  exchange.answer = new Answer(options);
  log.append(questionNode(exchange.message), exchange.answer.node);
}

function replaceAnswer(exchange, options) {
  const { node } = exchange.answer;
  exchange.answer = new Answer(options);
  node.replaceWith(exchange.answer.node);
}

function requestAnswer(exchange) {
  composer.say("");
  replaceAnswer(exchange);
  receive(exchange, ask, showKept);
}

Answer.onDecide = (decisions) => {
  if (active || loading) return false;
  const exchange = conversation.exchanges.at(-1);
  composer.say("");
  const start = (id, options) => decide(id, options, exchange.answer.messageId, decisions);
  queueMicrotask(() => receive(exchange, start, showKept));
  return true;
};

async function receive(exchange, start, whenNothing) {
  const controller = active = new AbortController();
  const { signal } = controller;
  followEnd();
  render(t("conversation.answering"));
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
  setIdle(t(answer.asked.length ? "conversation.decision" : `conversation.${answer.state}`));
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
  setIdle(t(`conversation.${answer.state}`));
}

// Another answer runs. It is shown, and the question goes back to where it was written.
async function giveWay(error, { message, answer }) {
  conversation.exchanges.pop();
  answer.node.previousSibling.remove();
  answer.node.remove();
  await load();
  if (conversation.exchanges.some((each) => each.message.id === message.id)) return; // it is the answer to this
  composer.restore(message, error.message);
}

function retryButtons(error, exchange) {
  const again = () => exchange && !error.isBroken ? requestAnswer(exchange) : load();
  const waitMs = error.retryAfterS * 1000;
  const label = waitMs > 6e4
    ? t("conversation.tryAgainFrom", { time: formatDate(Date.now() + waitMs, { timeStyle: "medium" }) })
    : t("conversation.tryAgain");
  const retry = button(label, () => active || again(), { icon: "retry", class: "strong retry" });
  if (waitMs > 0) {
    retry.disabled = true;
    setTimeout(() => { retry.disabled = false; }, waitMs);
  }
  if (![401, 403].includes(error.status)) return [retry];
  // The same again would be refused again.
  const changeCredentials = async () => await credentials.change() && !active && again();
  return credentials.changeLabel ? [button(credentials.changeLabel, changeCredentials, { class: "strong retry" })] : [];
}

export async function stopAnswer() {
  if (!active) return;
  const controller = active;
  status.textContent = t("conversation.stopping");
  setTimeout(() => controller.abort(), STOP_TIMEOUT_MS);
  if (!await requestStop(conversation.id)) controller.abort();
}

export function openFromUrl() {
  const id = new URLSearchParams(`id=${location.hash.slice(1)}`).get("id"); // never throws
  if (!id) return show(newConversation());
  if (id === conversation.id) return;
  show({ id });
  load();
}

export function startOver() {
  if (location.hash) history.pushState(null, "", location.pathname + location.search);
  show(newConversation());
  composer.focus();
}

async function load() {
  leave();
  const { signal } = loading = new AbortController();
  render(t("conversation.loading"));
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
  composer.say("");
  log.ariaLive = "off"; // nobody wants all of it read out
  log.replaceChildren();
  for (const exchange of conversation.exchanges) showExchange(exchange, isOpen && exchange === last);
  followEnd();
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
    const begin = button(t("page.new"), startOver, { class: "strong" });
    answer.fail(t("conversation.notFound"), [begin]);
    [conversation, loading] = [newConversation(), null];
  } else answer.fail(error.message, retryButtons(error));
  render("");
}

// Another tab may have gone on with the conversation, or deleted it.
export async function catchUp() {
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
  composer.setRunning(active !== null);
  conversationList.mark(conversation.id);
}

conversationList.onChange = ({ id, title }) => {
  if (id !== conversation.id) return;
  if (title === undefined) startOver();
  else setPageTitle(title);
};
