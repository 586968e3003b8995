// When each tool of an answer ran: bars on a common time axis, so that one sees what ran at once and what was slow.

import { el } from "./dom.js";
import { asked, seconds } from "./tool_card.js";
import { isFinal } from "./turns.js";

/** The figure under an answer. */
export class Timeline {
  node = el("figure", { class: "timeline", hidden: "" });

  /** Draw the calls as they stand at this time. */
  draw(calls, nowMs) {
    if (!calls.length) return;
    const bars = calls.map((call) => barOf(call, nowMs));
    const from = Math.min(...bars.map(({ waits }) => waits));
    const axis = { from, length: Math.max(...bars.map(({ to }) => to)) - from || 1 };
    const slowest = Math.max(...bars.map(({ ms }) => ms));
    const rows = bars.map((bar) => row(bar, axis, bars.length > 1 && bar.ms === slowest));
    this.node.hidden = false;
    this.node.replaceChildren(caption(bars), el("ol", { role: "list" }, ...rows), ticks(axis));
  }
}

function barOf(call, nowMs) {
  const to = call.endedMs ?? nowMs;
  const from = call.startedMs ?? to;
  return { call, from, to, waits: call.queuedMs ?? from, ms: to - from };
}

function caption(bars) {
  const together = lengthOfUnion(bars);
  const inTurn = bars.reduce((sum, { ms }) => sum + ms, 0);
  const took = el("b", {}, seconds(together));
  if (bars.length === 1) return el("figcaption", {}, "One tool, ", took);
  if (inTurn < together * 1.05) return el("figcaption", {}, `${bars.length} tools one after another, `, took);
  return el("figcaption", {}, `${bars.length} tools at once, `, took, " instead of ", el("s", {}, seconds(inTurn)));
}

function lengthOfUnion(bars) {
  let [sum, end] = [0, -Infinity];
  for (const { from, to } of bars.toSorted((a, b) => a.from - b.from)) {
    sum += Math.max(0, to - Math.max(from, end));
    end = Math.max(end, to);
  }
  return sum;
}

function row({ call, from, to, waits, ms }, axis, isSlowest) {
  const wait = waits < from ? stretch("wait", waits, from, axis) : null;
  const attributes = { "data-status": call.status, class: isSlowest && isFinal(call) ? "slowest" : null };
  return el("li", attributes,
    el("span", { class: "row-name" }, el("i", {}, call.name), " ", asked(call) && el("b", {}, asked(call))),
    el("span", { class: "track" }, wait, stretch("bar", from, to, axis)),
    el("span", { class: "row-time" }, seconds(ms)));
}

function stretch(kind, from, to, axis) {
  const node = el("span", { class: kind });
  node.style.left = `${100 * (from - axis.from) / axis.length}%`;
  node.style.width = `${100 * (to - from) / axis.length}%`;
  return node;
}

// At most five steps of 1, 2 or 5 times a power of ten.
function ticks({ length }) {
  const power = 10 ** Math.floor(Math.log10(length / 5));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((candidate) => candidate * 5 >= length);
  const marks = Array.from({ length: Math.floor(length / step) + 1 }, (_, index) => {
    const node = el("span", {}, index ? `${Number((index * step / 1000).toPrecision(2))} s` : "0");
    node.style.left = `${100 * index * step / length}%`;
    return node;
  });
  return el("div", { class: "axis", "aria-hidden": "true" }, el("div", {}, ...marks));
}
