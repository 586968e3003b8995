// One answer on the page: words, tool cards and timeline, as the frames tell.

import { button, copy, el } from "./dom.js";
import { MarkdownView } from "./markdown_view.js";
import { Timeline } from "./timeline.js";
import { ToolCard, seconds } from "./tool_card.js";
import { Turns } from "./turns.js";

const REASONS = {
  max_tokens: "The answer reached its longest length.",
  max_turns: "The model was asked as often as is allowed.",
  content_filter: "The provider's filter ended the answer.",
  refusal: "The model declined to go on.",
};

const STOPPED = { user: "You stopped this answer.", shutdown: "The server is going to rest; ask again in a moment." };

/** An answer that grows. `state` is waiting, running, done, stopped or failed. */
export class Answer {
  turns = new Turns();
  #views = new Map(); // turn → {view, cards}
  #cards = new Map(); // call → its card
  #timeline = new Timeline();
  #began = performance.now();
  #firstWordMs = null;
  #body = el("div", { class: "answer-body" });
  #thoughts = null;
  #foot = el("footer", { class: "answer-foot" });
  #ticking = 0;

  constructor() {
    this.node = el("article", { class: "answer", "aria-label": "Answer" }, this.#body, this.#timeline.node, this.#foot);
    this.#become("waiting");
  }

  /** Take one frame. A kind of frame that is not known here is passed over, as the format may grow. */
  take(frame) {
    switch (frame.type) {
      case "content": return this.#say(frame.delta);
      case "reasoning": return this.#think(frame.delta);
      case "tool_call": return this.#call(frame);
      case "done": return this.#finish(frame);
      case "stopped": return this.stopped(frame.reason);
      default: return undefined;
    }
  }

  /** The answer was ended on purpose. */
  stopped(reason) {
    this.#end("stopped");
    this.#foot.append(el("p", { class: "note" }, STOPPED[reason] ?? "The answer was stopped."), ...this.#copyButton());
  }

  /** The answer broke; `actions` are the buttons that may mend it. */
  fail(message, actions) {
    this.#end("failed");
    this.#foot.append(el("p", { class: "note alert", role: "alert" }, message), ...actions);
  }

  // Private methods

  #say(delta) {
    this.#become("running");
    this.#firstWordMs ??= this.#now();
    this.#timeline.spoke(this.#now());
    this.#place(this.turns.say(delta)).view.append(delta);
  }

  #think(delta) {
    this.#become("running");
    if (!this.#thoughts) {
      this.#thoughts = el("p");
      this.#body.append(el("details", { class: "thoughts" }, el("summary", {}, "Thinking"), this.#thoughts));
    }
    this.#thoughts.append(delta);
  }

  #call(frame) {
    this.#become("running");
    const { turn, call } = this.turns.hear(frame, this.#now());
    const { cards } = this.#place(turn);
    if (!this.#cards.has(call)) {
      this.#cards.set(call, new ToolCard(call));
      cards.append(this.#cards.get(call).node);
      cards.hidden = false;
    }
    this.#cards.get(call).draw(call);
    this.#ticking ||= requestAnimationFrame(() => this.#tick());
  }

  #place(turn) {
    if (!this.#views.has(turn)) {
      const place = { view: new MarkdownView(), cards: el("ul", { class: "tools", "aria-label": "Tools", hidden: "" }) };
      this.#views.set(turn, place);
      this.#body.append(place.view.node, place.cards);
    }
    return this.#views.get(turn);
  }

  // Bars grow while a tool runs; a still picture costs nothing.
  #tick() {
    this.#timeline.draw(this.turns.calls, this.#now());
    const running = this.turns.calls.some(({ endedMs }) => endedMs === undefined);
    this.#ticking = running ? requestAnimationFrame(() => this.#tick()) : 0;
  }

  #finish({ stop_reason: reason, usage, turns }) {
    this.#end("done");
    if (REASONS[reason]) this.#foot.append(el("p", { class: "note" }, REASONS[reason]));
    this.#foot.append(el("p", { class: "figures" }, this.#figures(usage, turns)), ...this.#copyButton());
  }

  #figures(usage, turns) {
    return [
      this.#firstWordMs === null ? null : `first word ${seconds(this.#firstWordMs)}`,
      `whole answer ${seconds(this.#now())}`,
      turns && `${turns} ${turns === 1 ? "turn" : "turns"}`,
      usage && `${usage.input} tokens in, ${usage.output} out`,
    ].filter(Boolean).join(" · ");
  }

  #copyButton() {
    if (!this.turns.text) return [];
    const asked = button("Copy answer", () => copy(this.turns.text, asked), { name: "copy" });
    return [asked];
  }

  #end(state) {
    for (const call of this.turns.end(this.#now())) this.#cards.get(call).draw(call);
    for (const { view } of this.#views.values()) view.end();
    cancelAnimationFrame(this.#ticking);
    this.#timeline.draw(this.turns.calls, this.#now());
    this.#foot.replaceChildren();
    this.#become(state);
  }

  #become(state) {
    this.state = state;
    this.node.dataset.state = state;
    this.node.setAttribute("aria-busy", String(state === "waiting" || state === "running"));
  }

  #now() {
    return performance.now() - this.#began;
  }
}

/** A button that asks the same once more. */
export function retryButton(onClick) {
  return button("Try again", onClick, { name: "retry", className: "strong" });
}
