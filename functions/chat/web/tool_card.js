// One tool call as a card: what was asked, how it goes, what came of it.

import { el, icon } from "./dom.js";
import { isFinal } from "./turns.js";

const WORDS = {
  queued: "waiting for a place",
  started: "running",
  completed: "completed",
  failed: "failed",
  timed_out: "timed out",
  cancelled: "cancelled",
};

/** A card that is drawn anew whenever its call has changed. */
export class ToolCard {
  #state = el("span", { class: "tool-state" });
  #asked = el("p", { class: "tool-asked" });
  #outcome = el("div", { class: "tool-outcome" });
  #progress = el("progress", { max: "1", "aria-label": "Progress" });

  constructor(call) {
    const head = el("div", { class: "tool-head" }, el("span", { class: "tool-name" }, call.name), this.#state);
    this.node = el("li", { class: "tool" }, head, this.#asked, this.#progress, this.#outcome);
  }

  draw(call) {
    const { status } = call;
    this.node.dataset.status = status;
    this.node.setAttribute("aria-label", `Tool ${call.name}: ${WORDS[status]}`);
    this.#state.replaceChildren(icon(status === "started" ? "running" : status), stateText(call));
    this.#asked.textContent = scalars(parsed(call.arguments)).map(([, value]) => value).join(" · ");
    this.#drawProgress(call);
    this.#outcome.replaceChildren(...outcome(call));
  }

  #drawProgress(call) {
    this.#progress.hidden = isFinal(call);
    const share = shareOf(call.data);
    if (share === null) this.#progress.removeAttribute("value");
    else this.#progress.value = share;
  }
}

/** Milliseconds in words. */
export function seconds(ms) {
  return ms < 10 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(2)} s`;
}

function stateText({ status, startedMs, endedMs }) {
  return status === "completed" ? seconds(endedMs - startedMs) : WORDS[status];
}

function outcome(call) {
  if (call.error) return [el("p", { class: "tool-error" }, call.error)];
  if (call.result === undefined) return call.data === undefined || isFinal(call) ? [] : [line(call.data)];
  const text = JSON.stringify(call.result, null, 2);
  const all = el("details", {}, el("summary", {}, "Result"), el("pre", { tabindex: "0", "aria-label": "Result" }, text));
  return [line(call.result), all];
}

function line(data) {
  const pairs = scalars(data).slice(0, 4);
  return el("dl", {}, ...pairs.map(([name, value]) => el("div", {}, name && el("dt", {}, name), el("dd", {}, value))));
}

// What fits into one line of a card: the plain values of an object, or the value itself.
function scalars(data) {
  if (data === null || data === undefined) return [];
  if (typeof data !== "object") return [["", String(data)]];
  const plain = Object.entries(data).filter(([, value]) => value !== null && typeof value !== "object");
  return plain.map(([name, value]) => [name.replaceAll("_", " "), String(value)]);
}

function parsed(json) {
  try {
    return JSON.parse(json || "{}");
  } catch {
    return json; // a model may break its own arguments; then they are shown as they are
  }
}

function shareOf(data) {
  const share = data?.fraction ?? data?.percent / 100;
  return share >= 0 && share <= 1 ? share : null;
}
