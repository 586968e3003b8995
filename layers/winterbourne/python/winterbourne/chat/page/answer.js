// One answer on the page: words, tool cards and timeline, as its frames tell.

import { button, copy, el } from "./dom.js";
import { MarkdownView } from "./markdown_view.js";
import { Timeline } from "./timeline.js";
import { ToolCard, seconds } from "./tool_card.js";
import { Turns } from "./turns.js";

const NOTES = {
  user: "You stopped this answer.",
  shutdown: "The server is going to rest; ask again in a moment.",
  max_tokens: "The answer reached its longest length.",
  max_turns: "The model was asked as often as is allowed.",
  content_filter: "The provider's filter ended the answer.",
  refusal: "The model declined to go on.",
};

/** An answer that grows. `state` is waiting, running, done, stopped or failed. */
export class Answer {
  turns = new Turns();
  #places = new Map(); // turn → where its words and its cards are
  #cards = new Map(); // call → its card
  #timeline = new Timeline();
  #began = performance.now();
  #firstWordMs = null;
  #thoughts = null;
  #body = el("div");
  #foot = el("footer", { class: "answer-foot" });
  #ticking = 0;

  constructor() {
    this.node = el("article", { class: "answer", "aria-label": "Answer" }, this.#body, this.#timeline.node, this.#foot);
    this.#become("waiting");
  }

  /** Take one frame. A kind that is not known here is passed over, as the format may grow. */
  take(frame) {
    switch (frame.type) {
      case "content": return this.#say(frame.delta);
      case "reasoning": return this.#think(frame.delta);
      case "tool_call": return this.#call(frame);
      case "done": return this.#finish(frame);
      case "stopped": return this.stop(frame.reason);
      default: return undefined;
    }
  }

  /** The answer was ended on purpose. */
  stop(reason) {
    this.#end("stopped", note(reason), this.#copyButton());
  }

  /** The answer broke; `actions` are the buttons that may mend it. */
  fail(message, actions) {
    this.#end("failed", el("p", { class: "note alert", role: "alert" }, message), ...actions);
  }

  #say(delta) {
    this.#become("running");
    this.#firstWordMs ??= this.#now();
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
      this.#cards.set(call, new ToolCard());
      cards.append(this.#cards.get(call).node);
      cards.hidden = false;
    }
    this.#cards.get(call).draw(call);
    this.#ticking ||= requestAnimationFrame(() => this.#tick());
  }

  #place(turn) {
    if (!this.#places.has(turn)) {
      const view = new MarkdownView();
      const cards = el("ul", { class: "tools", "aria-label": "Tools", hidden: "" });
      this.#places.set(turn, { view, cards });
      this.#body.append(view.node, cards);
    }
    return this.#places.get(turn);
  }

  // Bars grow while a tool runs; a still picture costs nothing.
  #tick() {
    this.#timeline.draw(this.turns.calls, this.#now());
    const isRunning = this.turns.calls.some(({ endedMs }) => endedMs === undefined);
    this.#ticking = isRunning ? requestAnimationFrame(() => this.#tick()) : 0;
  }

  #finish({ stop_reason: reason, usage, turns }) {
    const figures = [
      this.#firstWordMs !== null && `first word ${seconds(this.#firstWordMs)}`,
      `whole answer ${seconds(this.#now())}`,
      turns > 1 && `${turns} turns`,
      usage?.output > 0 && `${usage.input} tokens in, ${usage.output} out`,
    ];
    const line = el("p", { class: "figures" }, figures.filter(Boolean).join(" · "));
    this.#end("done", note(reason), line, this.#copyButton());
  }

  #copyButton() {
    const asked = button("Copy answer", () => copy(this.turns.text, asked), { name: "copy" });
    return this.turns.text ? asked : null;
  }

  #end(state, ...foot) {
    for (const call of this.turns.end(this.#now())) this.#cards.get(call).draw(call);
    for (const { view } of this.#places.values()) view.end();
    cancelAnimationFrame(this.#ticking);
    this.#timeline.draw(this.turns.calls, this.#now());
    this.#foot.append(...foot.filter(Boolean));
    this.#become(state);
  }

  #become(state) {
    this.state = state;
    this.node.dataset.state = state;
    this.node.setAttribute("aria-busy", state === "waiting" || state === "running");
  }

  #now() {
    return performance.now() - this.#began;
  }
}

function note(reason) {
  return NOTES[reason] && el("p", { class: "note" }, NOTES[reason]);
}
