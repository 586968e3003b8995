// A chart of when each tool call of an answer ran: bars on a common time axis, in milliseconds.

import { el } from "./dom.js";
import { formatDuration, formatUnit, t } from "./strings.js";
import { argumentsSummary } from "./tool_card.js";
import { isFinal } from "./turns.js";

const SHORTEST_AXIS_MS = 10;

export class Timeline {
  node = el("figure", { class: "timeline", "aria-live": "off", hidden: "" });

  render(calls, nowMs) {
    this.node.hidden = calls.length < 2;
    if (this.node.hidden) return;
    const bars = calls.map((call) => toBar(call, nowMs));
    const start = Math.min(...bars.map(({ queued }) => queued));
    const axis = { start, length: Math.max(...bars.map(({ end }) => end)) - start };
    axis.length = Math.max(axis.length, SHORTEST_AXIS_MS);
    const longest = Math.max(...bars.map(({ duration }) => duration));
    const rows = bars.map((bar) => timelineRow(bar, axis, bar.duration === longest));
    this.node.replaceChildren(caption(bars), el("ol", { role: "list" }, ...rows), ticks(axis));
  }
}

function toBar(call, nowMs) {
  const end = call.endedMs ?? nowMs;
  const start = call.startedMs ?? end;
  return { call, start, end, queued: call.queuedMs ?? start, duration: end - start };
}

function caption(bars) {
  const elapsed = unionLength(bars);
  const total = bars.reduce((sum, { duration }) => sum + duration, 0);
  const time = el("b", {}, formatDuration(elapsed));
  if (total < SHORTEST_AXIS_MS) return el("figcaption", {}, t("timeline.instant", { count: bars.length }), time);
  if (total < elapsed * 1.05) return el("figcaption", {}, t("timeline.sequence", { count: bars.length }), time);
  return el("figcaption", {}, t("timeline.parallel", { count: bars.length }), time, t("timeline.insteadOf"), el("s", {}, formatDuration(total)));
}

function unionLength(bars) {
  let [sum, last] = [0, -Infinity];
  for (const { start, end } of bars.toSorted((a, b) => a.start - b.start)) {
    sum += Math.max(0, end - Math.max(start, last));
    last = Math.max(last, end);
  }
  return sum;
}

function timelineRow({ call, start, end, queued, duration }, axis, isSlowest) {
  const wait = queued < start ? segment("wait", queued, start, axis) : null;
  const summary = argumentsSummary(call);
  const attributes = { "data-status": call.status, class: isSlowest && isFinal(call) ? "slowest" : null };
  return el("li", attributes,
    el("span", { class: "row-name" }, el("i", {}, call.name), " ", summary && el("b", {}, summary)),
    el("span", { class: "track" }, wait, segment("bar", start, end, axis)),
    el("span", { class: "row-time" }, call.startedMs === undefined ? "" : formatDuration(duration)));
}

function segment(kind, start, end, axis) {
  const node = el("span", { class: kind });
  node.style.left = `${100 * (start - axis.start) / axis.length}%`;
  node.style.width = `${100 * (end - start) / axis.length}%`;
  return node;
}

// At most three steps of 1, 2 or 5 times a power of ten.
function ticks({ length }) {
  const power = 10 ** Math.floor(Math.log10(length / 3));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((candidate) => candidate * 3 >= length);
  const labels = Array.from({ length: Math.floor(length / step) + 1 }, (_, index) => {
    const node = el("span", {}, index ? formatUnit(index * step / 1000, "second", { unitDisplay: "narrow", maximumSignificantDigits: 2 }) : "0");
    node.style.left = `${100 * index * step / length}%`;
    return node;
  });
  return el("div", { class: "axis", "aria-hidden": "true" }, el("div", {}, ...labels));
}
