// One answer on the page: text, reasoning, tool cards and timeline, updated from stream frames.

import { config } from "./config.js";
import { button, copyText, el } from "./dom.js";
import { safeUrl } from "./markdown.js";
import { MarkdownView } from "./markdown_view.js";
import { formatDuration, t } from "./strings.js";
import { Timeline } from "./timeline.js";
import { ToolCard } from "./tool_card.js";
import { Turns, isAsked } from "./turns.js";

/** An answer. `state` is waiting, running, done, stopped or failed. Times are shown of one that was seen live. */
export class Answer {
  static onDecide; // takes decisions; returns whether they are sent
  turns = new Turns();
  #views = new Map(); // turn → its text view and card list
  #cards = new Map(); // call → its card
  #timeline = new Timeline();
  #startTime = performance.now();
  #firstTextMs = null;
  #thoughts = el("details", { class: "thoughts", hidden: "" }, el("summary", {}, t("answer.thinking")));
  #thought = null; // what this turn thinks
  #before = {}; // what there was when the model's turn began
  #body = el("div");
  #cited = new Set(); // ids of sources
  #sources = el("ol", { class: "sources", "aria-label": t("answer.sources"), hidden: "" });
  #footer = el("footer", { class: "answer-foot" });
  #rafId = 0;
  #isLive;

  constructor({ isLive = true } = {}) {
    this.#isLive = isLive;
    this.node = el("article", { class: "answer", "aria-label": t("answer.label") },
      this.#thoughts, this.#body, this.#sources, this.#timeline.node, this.#footer);
    this.#setState("waiting");
  }

  /** Apply a frame. Unknown types are ignored, as later servers may add some. */
  handleFrame(frame) {
    if (this.#footer.hasChildNodes()) this.#footer.replaceChildren(); // the connection is back
    switch (frame.type) {
      case "start": this.messageId = frame.message_id; // and its first turn begins
      case "turn": return this.#beginTurn();
      case "retract": return this.#retract();
      case "content": return this.#appendText(frame.delta);
      case "reasoning": return this.#appendReasoning(frame.delta);
      case "tool_call": return this.#updateToolCall(frame);
      case "source": return this.#addSource(frame);
      case "done": return this.#complete(frame);
      case "stopped": return this.stop(frame.reason);
    }
  }

  stop(reason) {
    this.#end("stopped", note(reason), this.#copyButton());
  }

  /** End with an error, and buttons to retry. */
  fail(message, buttons) {
    this.#end("failed", el("p", { class: "note alert", role: "alert" }, message), ...buttons);
  }

  /** Say that the connection is lost. What comes after it tells no times. */
  interrupt() {
    this.#forgetTimes();
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
    this.#setState("waiting");
  }

  #decide(call, decision) {
    call.decision = decision;
    if (decision.arguments && !call.approval.schema) call.arguments = JSON.stringify(decision.arguments);
    this.#render(call);
    this.#cards.get(this.asked.find(({ decision }) => !decision) ?? call).node.focus();
    this.sendDecisions();
  }

  #render(call) {
    this.#cards.get(call).render(call, (decision) => this.#decide(call, decision));
  }

  /** End what was kept of an answer: whole, or with buttons to retry. */
  endKept({ isComplete, usage, turns }, buttons = []) {
    if (isComplete) this.#complete({ usage, turns, stop_reason: this.asked.length ? "approval" : undefined });
    else this.#end("stopped", note(turns ? "unfinished" : "unanswered"), ...buttons, this.#copyButton());
  }

  #beginTurn() {
    const turn = this.turns.list.at(-1);
    this.#before = { turn, text: turn?.text, cited: this.#cited.size };
    this.#thought = null;
  }

  // A turn with calls is never taken back.
  #retract() {
    const turn = this.turns.list.at(-1), { text, cited = 0 } = this.#before;
    for (const id of [...this.#cited].slice(cited)) {
      this.#cited.delete(id);
      this.#sources.lastChild.remove();
    }
    this.#sources.hidden = !this.#cited.size;
    if (turn) {
      turn.text = turn === this.#before.turn ? text : "";
      const views = this.#viewOf(turn), view = new MarkdownView();
      views.text.node.replaceWith(view.node);
      views.text = view;
      view.append(turn.text);
    }
    this.#thought?.remove();
    this.#thought = null;
    this.#thoughts.hidden = !this.#thoughts.children[1];
  }

  #appendText(delta) {
    this.#setState("running");
    this.#firstTextMs ??= this.#elapsedMs();
    this.#viewOf(this.turns.appendText(delta)).text.append(delta);
  }

  #appendReasoning(delta) {
    this.#setState("running");
    if (!this.#thought) this.#thoughts.append(this.#thought = el("p"));
    this.#thoughts.hidden = false;
    this.#thought.append(delta);
  }

  // A page is a link, a document its name; an answer may cite each often.
  #addSource({ id, url, title, cited_text: quote }) {
    if (this.#cited.has(id)) return;
    this.#cited.add(id);
    const href = url && safeUrl(url);
    const name = title || url || t("answer.document");
    const source = href ? el("a", { href, target: "_blank", rel: "noopener noreferrer" }, name) : name;
    this.#sources.append(el("li", { title: quote }, source));
    this.#sources.hidden = false;
  }

  #updateToolCall(frame) {
    this.#setState("running");
    const { turn, call } = this.turns.updateToolCall(frame, this.#elapsedMs());
    const { cards } = this.#viewOf(turn);
    if (!this.#cards.has(call)) {
      const card = new ToolCard();
      this.#cards.set(call, card);
      cards.append(card.node);
      cards.hidden = false;
    }
    this.#render(call);
    this.#rafId ||= requestAnimationFrame(() => this.#drawTimeline());
  }

  #viewOf(turn) {
    if (!this.#views.has(turn)) {
      const text = new MarkdownView();
      const cards = el("ul", { class: "tools", "aria-label": t("answer.tools"), hidden: "" });
      this.#views.set(turn, { text, cards });
      this.#body.append(text.node, cards);
    }
    return this.#views.get(turn);
  }

  // Repeats as long as a tool runs.
  #drawTimeline() {
    if (!this.#isLive) return;
    const calls = this.turns.calls.filter(({ approval }) => !approval);
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
    ];
    const text = stats.filter(Boolean).join(" · ");
    const line = text && el("p", { class: "figures" }, text);
    this.#end("done", note(reason), line, this.#copyButton());
  }

  #copyButton() {
    const node = button(t("answer.copy"), () => copyText(this.turns.text, node), { icon: "copy" });
    return this.turns.text ? node : null;
  }

  #end(state, ...footer) {
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
    this.node.setAttribute("aria-busy", state === "waiting" || state === "running");
  }

  #elapsedMs() {
    return performance.now() - this.#startTime;
  }
}

function note(reason) {
  const text = config.strings.notes[reason];
  return text && el("p", { class: "note" }, text);
}
