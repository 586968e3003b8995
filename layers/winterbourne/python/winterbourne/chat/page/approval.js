// What a person is asked about a tool call: its arguments, fields for what can be changed or filled in, yes or no.

import { button, el } from "./dom.js";
import { parseJson } from "./turns.js";

/** A form for a call; `decide` is called with {approved, reason, arguments}. */
export function approvalForm({ name, arguments: json, approval }, decide) {
  const { message, schema, allows_edits: isEditable, expires_at_s: expiresAtS } = approval;
  const args = parseJson(json || "{}");
  const until = new Date(expiresAtS * 1000);
  const isOver = Date.now() > until;
  const specs = isOver ? {} : schema?.properties ?? (isEditable ? specsOf(args) : {});
  const fields = Object.entries(specs).map(([key, spec]) => field(key, spec, schema?.required?.includes(key)));
  const reason = el("input");
  const form = el("form", { "aria-label": `Decide on ${name}` },
    el("p", { class: "tool-asked" }, message || "Allow this?"),
    el("dl", {}, ...Object.entries(args).filter(([key]) => schema || !specs[key]).map(row)),
    ...fields.map(({ node }) => node),
    isOver ? null : el("label", {}, "Reason, if you like", reason),
    el("p", { class: "figures" }, isOver ? "The time to decide is over." : `Until ${until.toLocaleString()}`));
  const press = (approved) => {
    if (approved && !form.reportValidity()) return;
    const values = Object.fromEntries(fields.flatMap(({ read }) => read()));
    const filled = approved && fields.length ? { arguments: schema ? values : { ...args, ...values } } : {};
    decide({ approved, reason: reason.value.trim(), ...filled });
  };
  if (!isOver) form.append(el("div", { class: "dialog-actions" },
    button("Deny", () => press(false)), button(schema ? "Send" : "Approve", () => press(true), { class: "strong" })));
  form.addEventListener("submit", (event) => event.preventDefault()); // Enter in a field is no yes
  return form;
}

const label = (key) => key.replaceAll("_", " ");

function row([key, value]) {
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
