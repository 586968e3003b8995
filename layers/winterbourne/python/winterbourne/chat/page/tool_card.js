// Tool calls: a row with the state of each, which opens to a card for each, with its arguments, progress and result, or
// a form for a person's yes or no.

import { button, el, icon, morph, on } from "./dom.js";
import { formatDate, formatDuration, t } from "./strings.js";
import { CANCELLED, DENIED, isAsked, isFinal, parseJson } from "./turns.js";
import { readable } from "./values.js";

/** The calls of a turn. */
export class ToolRow {
  #cards = new Map(); // by call
  #chips = el("button", { type: "button", class: "chips", "aria-expanded": "false" });
  #list = el("ul", { "aria-label": t("answer.tools") });
  node = el("div", { class: "tools", hidden: "" }, this.#chips, this.#list);

  constructor() {
    on(this.#chips, "click", () => { this.#chips.ariaExpanded = this.#chips.ariaExpanded === "false"; });
  }

  /** Show one of the calls; `decide` is called with what the user decides. */
  render(calls, call, decide) {
    if (!this.#cards.has(call)) {
      const card = new ToolCard();
      this.#cards.set(call, card);
      this.#list.append(card.node);
      this.node.hidden = false;
    }
    this.#cards.get(call).render(call, decide);
    morph(this.#chips, el("div", {}, ...calls.map(callChip)));
  }

  focus(call) {
    this.#cards.get(call)?.node.focus();
  }
}

function callChip(call) {
  const state = el("span", { class: "unseen" }, stateOf(call));
  return el("span", { class: "chip", "data-status": call.status }, icon(call.status), call.name, " ", state, ...progress(call));
}

const stateOf = (call) => t(isAsked(call) && call.decision ? "tool.decided" : `tool.${call.status}`);

class ToolCard {
  node = el("li", { class: "tool", tabindex: "-1" });

  /** Show a call; `decide` is called with what the user decides. */
  render(call, decide) {
    const asks = isAsked(call) && !call.decision;
    const label = stateOf(call);
    const text = call.status !== "completed" ? label : call.cached ? t("tool.cached") : call.durationMs == null ? "" : formatDuration(call.durationMs);
    this.node.dataset.status = call.status;
    this.node.classList.toggle("stays", call.approval || ["failed", "timed_out"].includes(call.status));
    this.node.setAttribute("aria-label", t("tool.label", { name: call.name, state: label }));
    this.node.replaceChildren(
      el("div", { class: "tool-head" }, call.name, el("span", { class: "tool-state" }, icon(call.status), text)),
      ...asks ? [approvalForm(call, decide)] : [el("p", { class: "tool-asked" }, argumentsSummary(call)), ...outcome(call)],
    );
  }
}

export function argumentsSummary(call) {
  return argumentValues(call).join(" · ");
}

function outcome(call) {
  const isApproved = call.decision?.approved ?? (call.approval && !call.error);
  const said = (what) => el("p", { class: "figures" }, t(what));
  if (isAsked(call)) return [said(isApproved ? "tool.approved" : "tool.youDenied")];
  return [...isApproved ? [said("tool.approved")] : [], ...result(call)];
}

function result(call) {
  if (call.error) return [el("p", { class: "tool-error" }, errorText(call))];
  if (!isFinal(call)) return [...dataList(call, call.data), ...progress(call)];
  if (call.result === undefined) return [];
  const json = el("pre", { tabindex: "0", "aria-label": t("tool.result") }, JSON.stringify(call.result, null, 2));
  return [...dataList(call, call.result), el("details", {}, el("summary", {}, t("tool.result")), json)];
}

// What the model is told of these is not in the page's language; a person's reason follows it.
function errorText({ error }) {
  if (DENIED.test(error)) return t("tool.youDenied") + error.replace(DENIED, "");
  return CANCELLED.test(error) ? t("notes.unfinishedCall") : error;
}

// The first scalars of progress data or a result, without those that only repeat an argument.
function dataList(call, data) {
  const args = argumentValues(call);
  const shown = readable(data).filter(([name, value]) => name !== "fraction" && !args.includes(value)).slice(0, 3);
  return shown.length ? [el("dl", {}, ...shown.map(valueRow))] : [];
}

// Tools may report their progress as a `fraction` between 0 and 1.
function progress(call) {
  if (isFinal(call) || isAsked(call)) return [];
  const { data } = call;
  const percent = data?.fraction >= 0 ? Math.min(100, Math.round(100 * data.fraction)) : null;
  const node = el("div", { class: "flow", role: "progressbar", "aria-label": t("tool.progress"), "aria-valuenow": percent });
  node.style.setProperty("--share", `${percent}%`);
  return [node];
}

function argumentValues({ arguments: json }) {
  return readable(parseJson(json || "{}")).map(([, value]) => value);
}

// Asks a person about a call; `decide` is called with {approved, reason, arguments}.
function approvalForm({ name, arguments: json, approval }, decide) {
  const { message, schema, allows_edits: isEditable, expires_at_s: expiresAtS } = approval;
  const args = parseJson(json || "{}", exact) ?? {};
  const specs = schema?.properties ?? (isEditable ? specsOf(args) : {});
  const fields = Object.entries(specs).map(([key, spec]) => field(key, spec, schema?.required?.includes(key)));
  const values = () => Object.fromEntries(fields.flatMap(({ read }) => read()));
  const unchanged = JSON.stringify(values());
  const reason = el("input", { maxlength: 1000 });
  const form = el("form", { "aria-label": t("tool.decide", { name }) },
    el("p", { class: "tool-asked" }, message || t("tool.allow")),
    el("dl", {}, ...Object.entries(args).filter(([key]) => schema || !specs[key]).map(valueRow)),
    ...fields.map(({ node }) => node),
    el("label", {}, t("tool.reason"), reason),
    el("p", { class: "figures" }, t("tool.until", { time: formatDate(expiresAtS * 1000, { dateStyle: "medium", timeStyle: "short" }) })));
  const press = (approved) => ({ detail }) => {
    if (detail > 1 || (approved && !form.reportValidity())) return; // a second click was meant for another card
    const isFilled = approved && (schema || JSON.stringify(values()) !== unchanged);
    decide({ approved, reason: reason.value.trim(),
      ...isFilled && { arguments: schema ? values() : { ...args, ...values() } } });
  };
  form.append(el("div", { class: "dialog-actions" },
    button(t("tool.deny"), press(false)), button(t(schema ? "tool.send" : "tool.approve"), press(true), { class: "strong" })));
  on(form, "submit", (event) => event.preventDefault()); // Enter in a field is no yes
  return form;
}

// JavaScript would round a longer number, but what is shown has to be what is run.
const exact = (_, value, context) => Number.isInteger(value) && !Number.isSafeInteger(value) ? context?.source ?? value : value;

const label = (key) => key.replaceAll("_", " ");

function valueRow([key, value]) {
  const text = typeof value === "string" ? value : JSON.stringify(value, null, 1);
  return el("div", {}, el("dt", {}, label(key)), el("dd", {}, text));
}

// A JSON schema for each argument that a field can change.
function specsOf(args) {
  const editable = Object.entries(args).filter(([, value]) => value !== null && typeof value !== "object");
  return Object.fromEntries(editable.map(([key, value]) => [key, { type: typeof value, default: value }]));
}

// `read` gives the field's [name, value], or nothing if it was left empty.
function field(key, { type, title, description, enum: choices, ...spec }, isRequired) {
  const isNumber = ["number", "integer"].includes(type);
  const required = isRequired || (isNumber && "default" in spec) ? "" : null;
  const input = choices ? el("select", { required }, ...["", ...choices].map((choice) => el("option", {}, choice)))
    : type === "boolean" ? el("input", { type: "checkbox" })
    : isNumber ? el("input", { required, type: "number", step: type === "integer" ? 1 : "any" })
    : el("textarea", { required, rows: 1 });
  input.value = spec.default ?? "";
  input.checked = spec.default === true;
  const read = () => type === "boolean" ? [[key, input.checked]]
    : input.value || spec.default ? [[key, isNumber ? Number(input.value) : input.value]] : [];
  const text = (title ?? label(key)) + (description ? `: ${description}` : "");
  return { node: el("label", {}, text, input), read };
}
