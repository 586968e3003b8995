// When each tool of an answer ran: bars on a common time axis, with the words that were spoken meanwhile.

import { el } from "./dom.js";
import { seconds } from "./tool_card.js";
import { isFinal } from "./turns.js";

const PAUSE_MS = 250; // words further apart than this are two stretches of talk

/** The figure under an answer. */
export class Timeline {
  #caption = el("figcaption");
  #rows = el("ol", { role: "list" });
  #axis = el("div", { class: "axis", "aria-hidden": "true" });
  #spoken = [];

  constructor() {
    this.node = el("figure", { class: "timeline", hidden: "" }, this.#caption, this.#rows, this.#axis);
  }

  /** Words came at this time. */
  spoke(nowMs) {
    const last = this.#spoken.at(-1);
    if (last && nowMs - last.to < PAUSE_MS) last.to = nowMs;
    else this.#spoken.push({ from: nowMs, to: nowMs });
  }

  /** Draw the calls as they stand at this time. */
  draw(calls, nowMs) {
    if (!calls.length) return;
    this.node.hidden = false;
    const bars = calls.map((call) => barOf(call, nowMs));
    const axis = axisOf(bars);
    this.#caption.replaceChildren(...caption(bars));
    const talk = this.#spoken.filter(({ from, to }) => to > axis.from && from < axis.to);
    const words = talk.length ? [wordsRow(talk, axis)] : [];
    this.#rows.replaceChildren(...words, ...bars.map((bar) => toolRow(bar, axis, bars)));
    this.#axis.replaceChildren(...ticks(axis));
  }
}

function barOf(call, nowMs) {
  const to = call.endedMs ?? nowMs;
  const from = call.startedMs ?? to;
  return { call, from, to, waitedFrom: call.queuedMs ?? from, ms: to - from };
}

function axisOf(bars) {
  const from = Math.min(...bars.map(({ waitedFrom }) => waitedFrom));
  const to = Math.max(...bars.map((bar) => bar.to), from + 1);
  return { from, to };
}

function caption(bars) {
  const together = lengthOfUnion(bars);
  const inTurn = bars.reduce((sum, { ms }) => sum + ms, 0);
  if (bars.length === 1) return [`One tool, ${seconds(together)}`];
  const overlap = inTurn > together * 1.05;
  const saved = overlap ? [" instead of ", el("s", {}, seconds(inTurn)), " one after another"] : [" one after another"];
  return [`${bars.length} tools ${overlap ? "at once" : ""}, `.replace(" ,", ","), el("b", {}, seconds(together)), ...saved];
}

function lengthOfUnion(bars) {
  let [sum, end] = [0, -Infinity];
  for (const { from, to } of [...bars].sort((a, b) => a.from - b.from)) {
    sum += Math.max(0, to - Math.max(from, end));
    end = Math.max(end, to);
  }
  return sum;
}

function toolRow({ call, from, to, waitedFrom, ms }, axis, bars) {
  const slowest = bars.length > 1 && bars.every((bar) => bar.ms <= ms) && isFinal(call);
  const wait = waitedFrom < from ? [stretch("wait", waitedFrom, from, axis)] : [];
  const track = el("span", { class: "track" }, ...wait, stretch("bar", from, to, axis));
  return row(call.name, track, seconds(ms), { "data-status": call.status, class: slowest ? "slowest" : null });
}

function wordsRow(talk, axis) {
  const stretches = talk.map(({ from, to }) => stretch("talk", Math.max(from, axis.from), Math.min(to, axis.to), axis));
  return row("words", el("span", { class: "track" }, ...stretches), "", { class: "words" });
}

function row(name, track, time, attributes) {
  return el("li", attributes, el("span", { class: "row-name" }, name), track, el("span", { class: "row-time" }, time));
}

function stretch(kind, from, to, axis) {
  const node = el("span", { class: kind });
  const share = (ms) => `${(100 * ms / (axis.to - axis.from)).toFixed(2)}%`;
  node.style.left = share(from - axis.from);
  node.style.width = share(to - from);
  return node;
}

function ticks({ from, to }) {
  const step = stepOf(to - from);
  const count = Math.floor((to - from) / step + 1e-6) + 1;
  return Array.from({ length: count }, (_, index) => {
    const node = el("span", {}, index ? label(index * step) : "0");
    node.style.left = `${100 * index * step / (to - from)}%`;
    return node;
  });
}

function label(ms) {
  return ms < 1000 ? `${Math.round(ms)} ms` : `${Number((ms / 1000).toFixed(1))} s`;
}

// 1, 2 or 5 times a power of ten, so that there are at most five steps.
function stepOf(length) {
  const power = 10 ** Math.floor(Math.log10(length / 5));
  return [1, 2, 5, 10].map((factor) => factor * power).find((step) => step * 5 >= length);
}
