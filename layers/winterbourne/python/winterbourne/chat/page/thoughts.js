// What a model thinks before it answers: folded, with the time it takes.

import { el } from "./dom.js";
import { formatDuration, t } from "./strings.js";

export class Thoughts {
  #summary = el("summary");
  // Its seconds are for the eye: nobody wants them read out one by one.
  node = el("details", { class: "thoughts", "aria-live": "off", hidden: "" }, this.#summary);
  #paragraph = null; // of this turn
  #sinceMs = null; // it has been thinking
  #wholeMs = 0;

  get isLive() {
    return this.#sinceMs !== null;
  }

  append(delta, nowMs) {
    if (!this.#paragraph) this.node.append(this.#paragraph = el("p"));
    this.#paragraph.append(delta);
    this.node.hidden = false;
    this.#sinceMs ??= nowMs;
  }

  pause(nowMs) {
    if (this.isLive) this.#wholeMs += nowMs - this.#sinceMs;
    this.#sinceMs = null;
  }

  beginTurn() {
    this.#paragraph = null;
  }

  /** Take back what this turn has thought. */
  retract() {
    this.#paragraph?.remove();
    this.#paragraph = null;
    this.node.hidden = !this.node.children[1];
  }

  /** Say how long it has thought, if that was seen. */
  label(nowMs, isSeen) {
    const ms = this.#wholeMs + (this.isLive ? nowMs - this.#sinceMs : 0);
    const time = ms < 1000 ? "" : formatDuration(ms, 0);
    const name = !isSeen ? "answer.thoughts" : this.isLive ? "waiting.thinking" : time ? "answer.thought" : "answer.moment";
    this.#summary.textContent = t(name, { time });
  }
}
