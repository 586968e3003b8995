// The conversation that is shown: what is asked and answered in it, from asking until it is left or loaded anew.

import { Answer } from "./answer.js";
import { ask, brokenOff, decide, follow, requestStop, toChatError } from "./chat.js";
import { composer, randomId } from "./composer.js";
import { conversationList } from "./conversation_list.js";
import { credentials } from "./credentials.js";
import { button, byId, el, log, on, root, statusNode } from "./dom.js";
import { draftKeyOf, keepDraft, keptDraft } from "./drafts.js";
import { archive, record } from "./history.js";
import { questionNode } from "./question.js";
import { saveMarkdown } from "./save.js";
import { followEnd } from "./scrolling.js";
import { formatDate, t } from "./strings.js";
import { toExchanges } from "./turns.js";

const STOP_TIMEOUT_MS = 3000; // after this the request is aborted
const TITLE_DELAY_MS = 3000; // a model writes the title after the first answer

const [hero, newButton, saveButton] = ["hero", "new", "save"].map(byId);
const pageTitle = document.title;

let conversation = newConversation();
let active = null; // the AbortController of the answer that is being received
let loading = null; // that of the conversation that is being loaded, or could not be
const elsewhere = new Map(); // by id: conversations whose answers this page receives while it shows another one

function newConversation() {
  return { id: randomId("c_"), exchanges: [] };
}

/** Ask in this conversation, in place of what has this message's id and of what follows it; returns whether it can be. */
composer.onSubmit = (message) => {
  if (loading && log.querySelector(".retry")) load(); // it says why that is not possible
  if (active || loading) return false;
  const { id, exchanges } = conversation;
  keepDraft(draftKey(), null);
  if (!exchanges.length) {
    log.replaceChildren();
    history.pushState(null, "", `#${id}`);
  }
  exchanges.at(-1)?.answer.closeAsked();
  const exchange = { message, replaced: cutFrom(exchanges.findIndex((each) => each.message.id === message.id)) };
  for (const node of log.querySelectorAll(".retry")) node.remove(); // asked again, it would drop what follows
  exchanges.push(exchange);
  append(exchange);
  requestAnswer(exchange);
  return true;
};

composer.onStop = stopAnswer;
archive.onFailure = (error) => composer.say(error.message);

Answer.onRegenerate = (answer) => composer.onSubmit(conversation.exchanges.find((each) => each.answer === answer).message);

// Takes the exchanges from there on out of the conversation; of none if that is -1.
function cutFrom(at) {
  const cut = at < 0 ? [] : conversation.exchanges.splice(at);
  for (const node of cut.flatMap(nodesOf)) node.remove();
  return cut;
}

const nodesOf = ({ question, answer }) => [question, answer.node];

function append(exchange, options) {
  exchange.frames ??= [];
  exchange.question = questionNode(exchange.message);
  exchange.answer = new Answer(options);
  log.append(...nodesOf(exchange));
}

function replaceAnswer(exchange, options) {
  const { answer } = exchange;
  answer.stop(); // nor does it count the seconds any more
  Object.assign(exchange, { answer: new Answer(options), frames: [] });
  answer.node.replaceWith(exchange.answer.node);
}

function requestAnswer(exchange) {
  exchange.isUnsent = false;
  queueMicrotask(keepWritten); // once the composer is empty
  composer.say("");
  replaceAnswer(exchange);
  receive(exchange, ask, showKept);
}

Answer.onDecide = (decisions) => {
  if (active || loading) return false;
  const exchange = conversation.exchanges.at(-1);
  composer.say("");
  const start = (id, options, body) => decide(id, options, { ...body, message_id: exchange.answer.messageId, decisions });
  queueMicrotask(() => receive(exchange, start, showKept));
  return true;
};

async function receive(exchange, start, whenNothing) {
  const [shown, controller] = [conversation, active = new AbortController()];
  const { signal } = controller;
  let release;
  followEnd();
  render(t("conversation.answering"));
  try {
    release = await archive.begin(shown);
    await receiveFrames(shown, exchange, start, signal);
    await archive.keep(shown, true);
    release();
    if (active !== controller) return; // the user has gone elsewhere
    if (exchange.answer.isOver) showEnd(exchange.answer);
    else await whenNothing(exchange, signal);
  } catch (error) {
    if (active === controller && error.name === "AbortError") record(exchange.frames, { type: "stopped", reason: "user" });
    if (start === ask) exchange.isUnsent = exchange.frames.every(({ type }) => type === "stopped"); // perhaps
    if (release) archive.keep(shown, true).then(release);
    if (active === controller) showError(error, exchange, start === ask || start === follow);
  } finally {
    controller.abort(); // closes a response that was not read whole
    if (elsewhere.get(shown.id)?.active === controller) elsewhere.delete(shown.id);
  }
}

async function receiveFrames(shown, exchange, start, signal) {
  let replays = start === follow;
  const onBreak = () => {
    replays ||= start !== ask;
    exchange.answer.interrupt();
  };
  const body = { ...archive.body(shown, start !== ask), model: composer.model || undefined };
  for await (const frame of start(shown.id, { signal, onBreak }, body)) {
    // What was kept of an answer gives way to its replay.
    if (replays && frame.type === "start") replaceAnswer(exchange, { isLive: false });
    if (frame.type === "error") throw toChatError(frame);
    noteSent(shown);
    exchange.answer.handleFrame(frame);
    record(exchange.frames, frame);
    archive.keep(shown);
  }
}

// The server has answered: it knows all of it.
function noteSent(shown) {
  const unsent = shown.exchanges.filter(({ isUnsent }) => isUnsent);
  for (const each of unsent) each.isUnsent = false;
  if (unsent.length && shown === conversation) keepWritten();
}

// The stream is gone, but the answer may be kept.
async function showKept(_, signal) {
  show(await archive.get(conversation.id, { signal }).catch(() => { throw brokenOff(); }));
}

function showEnd(answer) {
  setIdle(t(answer.asked.length ? "conversation.decision" : `conversation.${answer.state}`));
  const isFirst = conversation.exchanges.length === 1;
  conversationList.refresh(isFirst);
  if (isFirst && !archive.isLocal) setTimeout(() => conversationList.refresh(true), TITLE_DELAY_MS);
  answer.sendDecisions();
}

function showError(error, exchange, isQuestion) {
  if (error.status === 409) return isQuestion ? giveWay(error, exchange) : load(); // something else goes on here
  const { answer, frames, message, replaced = [] } = exchange;
  const isStopped = error.name === "AbortError";
  const isLost = error.isRefusal && frames.every(({ type }) => type === "start");
  if (isQuestion && (isLost || !isStopped && !frames.length && replaced.length)) return giveBack(error, exchange);
  if (isStopped) answer.stop("user");
  else answer.fail(told(error), error.isRefusal && isQuestion ? [] : retryButtons(error, isQuestion && exchange));
  keepWritten();
  setIdle(t(`conversation.${answer.state}`));
}

function told({ message, reference }) {
  const text = document.createDocumentFragment();
  text.append(message, ...reference ? [" ", el("small", {}, t("errors.reference", { id: reference }))] : []);
  return text;
}

// Asking the same again cannot help, or what it would replace is still there: the question goes back to be written anew.
function giveBack(error, { message, frames, replaced = [] }) {
  const { exchanges } = conversation;
  cutFrom(exchanges.length - 1);
  if (archive.isLocal || !frames.length) { // else the server has dropped it
    exchanges.push(...replaced);
    log.append(...replaced.flatMap(nodesOf));
  }
  if (!exchanges.length) history.replaceState(null, "", location.pathname + location.search);
  if (exchanges.length) archive.keep(conversation, true);
  else if (archive.isLocal) archive.drop(conversation.id);
  setIdle("");
  restore(message, told(error));
}

function restore(message, reason) {
  composer.restore(message, reason, conversation.exchanges.some((each) => each.message.id === message.id));
  keepWritten();
  composer.focus();
}

// Another answer runs. It is shown, and the question goes back to where it was written.
async function giveWay(error, { message }) {
  const { id } = conversation;
  cutFrom(conversation.exchanges.length - 1);
  await load();
  if (conversation.id !== id) return restoreElsewhere(id, message);
  if (conversation.exchanges.some((each) => each.message.id === message.id)) return; // it is the answer to this
  restore(message, told(error));
}

function restoreElsewhere(id, { id: sentId, content }) {
  const key = draftKeyOf(id);
  keepDraft(key, { id: sentId, content: [...content, ...keptDraft(key).draft.content ?? []] });
}

// What is written survives a reload, in each conversation, under the id of the question that it is to replace.
const draftKey = () => draftKeyOf(location.hash.slice(1));

function keepWritten() {
  const { aside, ...written } = composer.draft;
  const { id, content } = aside ?? written;
  const unsent = conversation.exchanges.filter(({ isUnsent }) => isUnsent).map(({ message }) => message);
  const unasked = { id: id ?? unsent[0]?.id, content: [...unsent.flatMap((each) => each.content), ...content] };
  const draft = aside ? { ...written, aside: unasked } : unasked;
  keepDraft(draftKey(), draft.content.length || aside ? { ...draft, conversation: conversation.id } : null);
}

function showDraft() {
  const { draft, isWhole } = keptDraft(draftKey());
  if (!location.hash && draft.conversation) conversation.id = draft.conversation;
  composer.draft = draft;
  composer.say(isWhole ? "" : t("files.lost"));
}

function retryButtons(error, exchange) {
  const again = () => exchange && !error.isBroken ? requestAnswer(exchange) : load();
  const waitMs = error.retryAfterS * 1000;
  const label = waitMs > 6e4
    ? t("conversation.tryAgainFrom", { time: formatDate(Date.now() + waitMs, { weekday: "long", hour: "numeric", minute: "numeric" }) })
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
  statusNode.textContent = t("conversation.stopping");
  setTimeout(() => controller.abort(), STOP_TIMEOUT_MS);
  if (!await requestStop(conversation.id)) controller.abort();
}

export function openFromUrl() {
  const id = new URLSearchParams(`id=${location.hash.slice(1)}`).get("id"); // never throws
  if (!id) return show(newConversation());
  if (id === conversation.id) return;
  const running = elsewhere.get(id);
  if (running) return comeBack(running);
  show({ id });
  load();
}

function comeBack(running) {
  leave();
  ({ conversation, active } = running);
  log.replaceChildren(...conversation.exchanges.flatMap(nodesOf));
  setPageTitle(conversation.title);
  showDraft();
  showEdit();
  followEnd();
  render(t("conversation.answering"));
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
    const kept = await archive.get(conversation.id, { signal });
    if (!signal.aborted) show(kept);
  } catch (error) {
    if (!signal.aborted) showLoadError(error);
  }
}

// What the browser keeps, it goes on to receive: another request would not find the answer.
function leave() {
  if (active && archive.isLocal) elsewhere.set(conversation.id, { conversation, active });
  else active?.abort();
  loading?.abort();
  active = loading = null;
}

// Shows a conversation as it is kept, and follows its answer if that runs or has not ended.
function show({ id, title, messages = [], exchanges = toExchanges(messages), running, updated_at: updatedAt }) {
  leave();
  const isOther = id !== conversation.id;
  conversation = { id, title, exchanges, running, updatedAt };
  if (isOther) showDraft();
  if (!running && isGivenBack(exchanges.at(-1))) exchanges.pop();
  showEdit();
  const last = exchanges.at(-1);
  const isOpen = last && (running || !last.isComplete);
  setPageTitle(title);
  log.ariaLive = "off"; // nobody wants all of it read out
  log.replaceChildren();
  for (const exchange of exchanges) showExchange(exchange, isOpen && exchange === last);
  if (isOther) followEnd();
  setIdle(title ?? "");
  setTimeout(() => { log.ariaLive = null; }, 1000);
  if (isOpen && !(running && archive.isLocal)) receive(last, follow, endKept); // else another tab receives it
}

function isGivenBack(exchange) {
  const { id, aside } = composer.draft;
  return exchange && !aside && exchange.message.id === id && exchange.frames.every(({ type }) => type === "stopped");
}

// A draft of a question that is here after all is an edit of it: what follows would be replaced.
function showEdit() {
  const { draft } = composer;
  const isHere = conversation.exchanges.some(({ message }) => message.id === draft.id);
  if (isHere && !draft.aside) composer.draft = { ...draft, aside: { id: null, content: [] } };
}

function showExchange(exchange, isOpen) {
  append(exchange, { isLive: false });
  exchange.answer.messageId = exchange.answerId;
  for (const frame of exchange.frames) exchange.answer.handleFrame(frame);
  const isOver = ({ approval }) => approval.expires_at_s * 1000 < Date.now();
  if (exchange !== conversation.exchanges.at(-1) || exchange.answer.asked.some(isOver)) exchange.answer.closeAsked();
  if (!isOpen && !exchange.answer.isOver) exchange.answer.endKept(exchange);
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
  } else answer.fail(told(error), retryButtons(error));
  render("");
}

/** Look whether another tab has gone on with the conversation, or deleted it, and load it if that was not possible. */
export async function catchUp() {
  const { id, exchanges, running, updatedAt } = conversation;
  const last = exchanges.at(-1);
  if (document.hidden || active) return;
  if (loading && log.querySelector(".retry")) return load();
  if (loading || !last) return;
  const kept = await archive.get(id).catch((error) => error);
  if (active || loading || conversation.id !== id) return;
  const isFailed = !last.answer.isOver; // and perhaps not kept
  if (kept.status === 404 && (!isFailed || running)) showLoadError(kept);
  if (kept instanceof Error) return;
  if (archive.isLocal) return kept.updated_at === updatedAt && kept.running === Boolean(running) || show(kept);
  const isKept = kept.messages.some(({ id }) => id === last.message.id);
  const newest = toExchanges(kept.messages).at(-1);
  if (isGivenBack(newest)) return;
  const isDecided = last.answer.asked.length && newest?.turns > last.answer.turns.list.length;
  const hasChanged = kept.running || newest?.message.id !== last.message.id || isDecided
    || (newest.answerId && newest.answerId !== last.answer.messageId);
  if (isFailed ? isKept && (hasChanged || newest.isComplete) : hasChanged) show(kept);
}

archive.onChange = (id) => {
  conversationList.refresh();
  if (id === conversation.id) catchUp();
};

function setPageTitle(title) {
  document.title = title ? `${title} · ${pageTitle}` : pageTitle;
}

function setIdle(text) {
  active = null;
  render(text);
}

function render(statusText) {
  root.dataset.running = active !== null;
  statusNode.textContent = statusText;
  hero.hidden = log.hasChildNodes() || loading !== null;
  newButton.hidden = !hero.hidden;
  saveButton.hidden = !conversation.exchanges.length;
  composer.setRunning(active !== null);
  conversationList.mark(conversation.id);
}

conversationList.onChange = ({ id, title }) => {
  if (id !== conversation.id) return;
  if (title === undefined) return startOver();
  conversation.title = title;
  setPageTitle(title);
};

on(byId("composer"), "input", keepWritten);
addEventListener("online", catchUp);
addEventListener("pagehide", () => active && archive.keep(conversation, true));
on(saveButton, "click", () => saveMarkdown(conversation));
