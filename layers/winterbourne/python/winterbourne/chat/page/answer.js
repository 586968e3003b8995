// One answer on the page: what is thought, said, cited and run for it, updated from stream frames.

import { button, copyText, el, icon } from "./dom.js";
import { MarkdownView } from "./markdown_view.js";
import { Sources } from "./sources.js";
import { formatDuration, formatNumber, t } from "./strings.js";
import { Thoughts } from "./thoughts.js";
import { Timeline } from "./timeline.js";
import { ToolRow } from "./tool_card.js";
import { Turns, isAsked, isFinal } from "./turns.js";
import { Waiting } from "./waiting.js";

const QUIET_MS = 2000; // so long may what is said pause

/** An answer. `state` is waiting, running, done, stopped or failed. Times are shown of one that was seen live. */
export class Answer {
  static onDecide; // takes decisions; returns whether they are sent
  static onRegenerate; // takes the answer in whose place another is wanted
  turns = new Turns();
  #views = new Map(); // turn → its text view and row of tools
  #timeline = new Timeline();
  #waiting = new Waiting();
  #thoughts = new Thoughts();
  #sources = new Sources();
  #startTime = performance.now();
  #firstTextMs = null;
  #newsMs = 0; // when something last came
  #ticker = 0;
  #before = {}; // what there was when the model's turn began
  #body = el("div");
  #footer = el("div", { class: "answer-foot" });
  #rafId = 0;
  #isLive;

  constructor({ isLive = true } = {}) {
    this.#isLive = isLive;
    this.node = el("article", { class: "answer", "aria-label": t("answer.label") },
      this.#thoughts.node, this.#body, this.#waiting.node, this.#sources.node, this.#timeline.node, this.#footer);
    this.#wait();
  }

  /** Apply a frame. Unknown types are ignored, as later servers may add some. */
  handleFrame(frame) {
    if (this.#footer.hasChildNodes()) this.#footer.replaceChildren(); // the connection is back
    if (frame.type !== "start") this.#noteNews(frame.type === "reasoning");
    switch (frame.type) {
      case "start": this.messageId = frame.message_id; // and its first turn begins
      case "turn": return this.#beginTurn();
      case "retract": return this.#retract();
      case "content": return this.#appendText(frame.delta);
      case "reasoning": return this.#appendReasoning(frame.delta);
      case "tool_call": return this.#updateToolCall(frame);
      case "source": return this.#cite(frame);
      case "done": return this.#complete(frame);
      case "stopped": return this.stop(frame.reason);
    }
  }

  stop(reason) {
    this.#end("stopped", note(reason), ...this.#buttons());
  }

  /** End with an error, and buttons to retry. */
  fail(message, buttons) {
    this.#end("failed", el("p", { class: "note alert", role: "alert" }, message), ...buttons);
  }

  /** Say that the connection is lost. What comes after it tells no times. */
  interrupt() {
    this.#forgetTimes();
    this.#noteNews();
    this.#footer.replaceChildren(note("interrupted"));
  }

  #forgetTimes() {
    this.#isLive = false;
    this.#timeline.node.remove();
  }

  /** The calls that wait for a person. */
  get asked() {
    return this.turns.calls.filter(isAsked);
  }

  /** Nobody can decide any more. */
  closeAsked() {
    if (this.asked.length) this.#footer.querySelector(".note")?.remove();
    for (const call of this.asked) {
      Object.assign(call, { status: "denied", error: t("notes.undecided") });
      this.#render(call);
    }
  }

  /** Hand on the decisions if the answer has stopped for them and each is there. */
  sendDecisions() {
    const decisions = this.asked.map(({ approval, decision }) => decision && { approval_id: approval.id, ...decision });
    const isReady = this.state === "done" && decisions.length && decisions.every(Boolean);
    if (!isReady || !Answer.onDecide(decisions)) return;
    this.#forgetTimes();
    this.#footer.replaceChildren();
    this.#wait();
  }

  #decide(call, decision) {
    call.decision = decision;
    if (decision.arguments && !call.approval.schema) call.arguments = JSON.stringify(decision.arguments);
    this.#render(call);
    this.#focus(this.asked.find(({ decision }) => !decision) ?? call);
    this.sendDecisions();
  }

  #focus(call) {
    for (const { tools } of this.#views.values()) tools.focus(call);
  }

  #render(call) {
    const turn = this.turns.list.find(({ calls }) => calls.includes(call));
    this.#viewOf(turn).tools.render(turn.calls, call, (decision) => this.#decide(call, decision));
  }

  // It is busy, and says so while nothing comes.
  #wait() {
    this.#setState("waiting");
    this.#newsMs = this.#elapsedMs();
    clearInterval(this.#ticker);
    this.#ticker = setInterval(() => this.#isBusy ? this.#tick() : clearInterval(this.#ticker), 1000);
    this.#waiting.render(0, []);
  }

  #tick() {
    const nowMs = this.#elapsedMs(), silentMs = nowMs - this.#newsMs;
    this.#thoughts.label(nowMs, this.#isLive);
    const isQuiet = this.state === "waiting" || silentMs >= QUIET_MS;
    if (!isQuiet || this.#thoughts.isLive || this.#footer.hasChildNodes() || !this.node.isConnected) return;
    this.#waiting.render(silentMs, this.turns.calls.filter((call) => !isFinal(call)), this.messageId);
  }

  #noteNews(isThought) {
    this.#newsMs = this.#elapsedMs();
    this.#waiting.hide();
    if (!isThought && this.#thoughts.isLive) {
      this.#thoughts.pause(this.#newsMs);
      this.#thoughts.label(this.#newsMs, this.#isLive);
    }
  }

  /** End what was kept of an answer: whole, or with buttons to retry. */
  endKept({ isComplete, usage, turns }, buttons = []) {
    if (isComplete) this.#complete({ usage, turns, stop_reason: this.asked.length ? "approval" : undefined });
    else this.#end("stopped", note(turns ? "unfinished" : "unanswered"), ...buttons, ...this.#buttons());
  }

  #beginTurn() {
    const turn = this.turns.list.at(-1);
    this.#before = { turn, text: turn?.text, cited: this.#sources.size };
    this.#thoughts.beginTurn();
  }

  // A turn with calls is never taken back.
  #retract() {
    const turn = this.turns.list.at(-1), { text, cited = 0 } = this.#before;
    this.#sources.cut(cited);
    if (turn) {
      turn.text = turn === this.#before.turn ? text : "";
      const views = this.#viewOf(turn), view = new MarkdownView();
      views.text.node.replaceWith(view.node);
      views.text = view;
      view.append(turn.text);
    }
    this.#thoughts.retract();
  }

  #appendText(delta) {
    this.#setState("running");
    this.#firstTextMs ??= this.#elapsedMs();
    this.#addText(delta);
  }

  #appendReasoning(delta) {
    this.#setState("running");
    this.#thoughts.append(delta, this.#newsMs);
    this.#thoughts.label(this.#newsMs, this.#isLive);
  }

  #addText(text) {
    this.#viewOf(this.turns.appendText(text)).text.append(text);
  }

  // After words only: beside what makes a list, a table or the end of code, a mark would make something else of it.
  #cite(source) {
    const mark = this.#sources.add(source);
    if (/[\p{L}\p{N}].*$/u.test(this.turns.list.at(-1)?.text ?? "")) this.#addText(mark);
  }

  #updateToolCall(frame) {
    this.#setState("running");
    this.#render(this.turns.updateToolCall(frame, this.#newsMs));
    this.#rafId ||= requestAnimationFrame(() => this.#drawTimeline());
  }

  #viewOf(turn) {
    if (!this.#views.has(turn)) {
      const text = new MarkdownView(), tools = new ToolRow();
      this.#views.set(turn, { text, tools });
      this.#body.append(text.node, tools.node);
    }
    return this.#views.get(turn);
  }

  // Repeats as long as a tool runs.
  #drawTimeline() {
    if (!this.#isLive) return;
    const calls = this.turns.calls.filter(({ approval, cached }) => !approval && !cached);
    this.#timeline.render(calls, this.#elapsedMs());
    const isRunning = calls.some(({ endedMs }) => endedMs === undefined);
    this.#rafId = isRunning ? requestAnimationFrame(() => this.#drawTimeline()) : 0;
  }

  #complete({ stop_reason: reason, usage, turns }) {
    const stats = [
      this.#isLive && this.#firstTextMs !== null && t("answer.firstWord", { time: formatDuration(this.#firstTextMs) }),
      this.#isLive && t("answer.whole", { time: formatDuration(this.#elapsedMs()) }),
      turns > 1 && t("answer.turns", { count: turns }),
      usage?.output > 0 && t("answer.tokens", usage),
      usage?.cost > 0 && formatNumber(usage.cost, { style: "currency", currency: "USD", maximumSignificantDigits: 2 }),
    ].filter(Boolean);
    this.#end("done", note(reason), ...this.#buttons(), ...stats.length ? about(stats.join(" · ")) : []);
  }

  #buttons() {
    const copy = button(t("answer.copy"), () => copyText(this.turns.text, copy), { icon: "copy" });
    const again = button(t("answer.again"), () => Answer.onRegenerate(this), { icon: "retry", class: "quiet again" });
    return [this.turns.text && copy, Answer.onRegenerate && !this.asked.length && again];
  }

  #end(state, ...footer) {
    this.#noteNews();
    for (const call of this.turns.cancelRunning(this.#elapsedMs(), state === "done")) this.#render(call);
    for (const { text } of this.#views.values()) text.end();
    cancelAnimationFrame(this.#rafId);
    this.#drawTimeline();
    this.#footer.replaceChildren(...footer.filter(Boolean));
    this.#setState(state);
  }

  #setState(state) {
    this.state = state;
    this.isOver = state === "done" || state === "stopped";
    this.node.dataset.state = state;
    this.node.setAttribute("aria-busy", this.#isBusy);
  }

  get #isBusy() {
    return this.state === "waiting" || this.state === "running";
  }

  #elapsedMs() {
    return performance.now() - this.#startTime;
  }
}

function about(text) {
  const name = t("answer.about"), card = el("p", { class: "figures card", popover: "" }, text);
  const opener = el("button", { type: "button", class: "quiet", "aria-label": name, title: name }, icon("info"));
  opener.popoverTargetElement = card;
  return [opener, card];
}

function note(reason) {
  const text = t(`notes.${reason}`);
  return text && el("p", { class: "note" }, text);
}
