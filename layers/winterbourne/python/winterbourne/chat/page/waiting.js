// A line under an answer while nothing comes: that it thinks, and after five seconds what it waits for.

import { el, statusNode } from "./dom.js";
import { formatDuration, formatList, t } from "./strings.js";

const PATIENCE_MS = 5000;

export class Waiting {
  node = el("p", { class: "waiting", "aria-hidden": "true" }); // it ticks; screen readers are told once, by the status
  #told = "";

  /** Nothing has come for `ms`. `calls` are those that have not ended; `isPlaced`: the server has begun. */
  render(ms, calls, isPlaced) {
    const running = calls.filter((call) => call.status !== "queued");
    const names = formatList([...new Set((running.length ? running : calls).map(({ name }) => name))]);
    const kind = running.length ? "tool" : calls.length ? "queue" : isPlaced ? "model" : "place";
    const isLong = ms >= PATIENCE_MS;
    const say = (time) => isLong ? t(`waiting.${kind}`, { names, time }) : calls.length ? "" : t("waiting.thinking", { time });
    this.node.textContent = say(ms < 1000 ? "" : formatDuration(ms, 0));
    if (isLong) this.#tell(say(""));
  }

  hide() {
    this.node.textContent = "";
    this.#tell("");
  }

  #tell(text) {
    if (text !== this.#told) statusNode.textContent = text || t("conversation.answering");
    this.#told = text;
  }
}
