// One tool call as a card: what was asked, how it goes, what came of it.

import { el, icon } from "./dom.js";
import { isFinal } from "./turns.js";

const STATES = { queued: "waiting for a place", started: "running", timed_out: "timed out" };

/** A card, drawn anew whenever its call has changed. */
export class ToolCard {
  node = el("li", { class: "tool" });

  draw(call) {
    const state = STATES[call.status] ?? call.status;
    const told = call.status === "completed" ? seconds(call.endedMs - call.startedMs) : state;
    this.node.dataset.status = call.status;
    this.node.setAttribute("aria-label", `Tool ${call.name}, ${state}`);
    this.node.replaceChildren(
      el("div", { class: "tool-head" }, call.name, el("span", { class: "tool-state" }, icon(call.status), told)),
      el("p", { class: "tool-asked" }, asked(call)),
      ...outcome(call),
    );
  }
}

/** Milliseconds in words. */
export function seconds(ms) {
  return ms < 10 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(2)} s`;
}

/** The arguments of a call in one line. */
export function asked(call) {
  return scalars(argumentsOf(call)).map(([, value]) => value).join(" · ");
}

function outcome(call) {
  if (call.error) return [el("p", { class: "tool-error" }, call.error)];
  if (!isFinal(call)) return [...line(call, call.data), flow(call.data)];
  if (call.result === undefined) return [];
  const whole = el("pre", { tabindex: "0", "aria-label": "Result" }, JSON.stringify(call.result, null, 2));
  return [...line(call, call.result), el("details", {}, el("summary", {}, "Result"), whole)];
}

// The plain values of what a tool says, without those that it was given and only repeats.
function line(call, data) {
  const given = scalars(argumentsOf(call)).map(([, value]) => value);
  const news = scalars(data).filter(([name, value]) => name !== "fraction" && !given.includes(value)).slice(0, 3);
  const pair = ([name, value]) => el("div", {}, el("dt", {}, name.replaceAll("_", " ")), el("dd", {}, value));
  return news.length ? [el("dl", {}, ...news.map(pair))] : [];
}

// A tool that knows how far it is tells a `fraction` between 0 and 1.
function flow(data) {
  const percent = data?.fraction >= 0 ? Math.min(100, Math.round(100 * data.fraction)) : null;
  const node = el("div", { class: "flow", role: "progressbar", "aria-label": "Progress", "aria-valuenow": percent });
  node.style.setProperty("--share", `${percent}%`);
  return node;
}

function scalars(data) {
  if (data == null) return [];
  if (typeof data !== "object") return [["", String(data)]];
  return Object.entries(data).filter(([, value]) => value !== null && typeof value !== "object")
    .map(([name, value]) => [name, String(value)]);
}

function argumentsOf({ arguments: json }) {
  try {
    return JSON.parse(json || "{}");
  } catch {
    return json; // a model may break its own arguments; then they are shown as they are
  }
}
