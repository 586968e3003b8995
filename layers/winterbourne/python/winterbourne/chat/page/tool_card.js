// One tool call as a card: its arguments, status, progress and result.

import { approvalForm } from "./approval.js";
import { el, icon } from "./dom.js";
import { isAsked, isFinal, parseJson } from "./turns.js";

const STATUS_LABELS = { queued: "waiting for a place", started: "running", timed_out: "timed out",
  approval_requested: "waiting for you", decided: "decided" };

export class ToolCard {
  node = el("li", { class: "tool", tabindex: "-1" });

  /** Show a call; `decide` is called with what the user decides. */
  render(call, decide) {
    const label = STATUS_LABELS[call.decision && isAsked(call) ? "decided" : call.status] ?? call.status;
    const text = call.status !== "completed" ? label : call.durationMs == null ? "" : formatMs(call.durationMs);
    this.node.dataset.status = call.status;
    this.node.setAttribute("aria-label", `Tool ${call.name}, ${label}`);
    const asks = isAsked(call) && !call.decision;
    this.node.replaceChildren(
      el("div", { class: "tool-head" }, call.name, el("span", { class: "tool-state" }, icon(call.status), text)),
      ...asks ? [approvalForm(call, decide)] : [el("p", { class: "tool-asked" }, argumentsSummary(call)), ...outcome(call)],
    );
  }
}

export function formatMs(ms) {
  return ms < 10 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(2)} s`;
}

export function argumentsSummary(call) {
  return argumentValues(call).join(" · ");
}

function outcome(call) {
  const isApproved = call.decision?.approved ?? (call.approval && !call.error);
  const said = (what) => el("p", { class: "figures" }, `You ${what} this.`);
  if (isAsked(call)) return [said(isApproved ? "approved" : "denied")];
  return [...isApproved ? [said("approved")] : [], ...result(call)];
}

function result(call) {
  if (call.error) return [el("p", { class: "tool-error" }, call.error)];
  if (!isFinal(call)) return [...dataList(call, call.data), progressBar(call.data)];
  if (call.result === undefined) return [];
  const json = el("pre", { tabindex: "0", "aria-label": "Result" }, JSON.stringify(call.result, null, 2));
  return [...dataList(call, call.result), el("details", {}, el("summary", {}, "Result"), json)];
}

// The first scalars of progress data or a result, without those that only repeat an argument.
function dataList(call, data) {
  const args = argumentValues(call);
  const shown = scalars(data).filter(([name, value]) => name !== "fraction" && !args.includes(value)).slice(0, 3);
  const row = ([name, value]) => el("div", {}, el("dt", {}, name.replaceAll("_", " ")), el("dd", {}, value));
  return shown.length ? [el("dl", {}, ...shown.map(row))] : [];
}

// Tools may report their progress as a `fraction` between 0 and 1.
function progressBar(data) {
  const percent = data?.fraction >= 0 ? Math.min(100, Math.round(100 * data.fraction)) : null;
  const node = el("div", { class: "flow", role: "progressbar", "aria-label": "Progress", "aria-valuenow": percent });
  node.style.setProperty("--share", `${percent}%`);
  return node;
}

function argumentValues({ arguments: json }) {
  return scalars(parseJson(json || "{}")).map(([, value]) => value);
}

function scalars(data) {
  if (data == null) return [];
  if (typeof data !== "object") return [["", String(data)]];
  return Object.entries(data).filter(([, value]) => value !== null && typeof value !== "object")
    .map(([name, value]) => [name, String(value)]);
}
