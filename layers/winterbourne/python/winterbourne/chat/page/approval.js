// What a person is asked about a tool call: its arguments, fields where something can be changed or filled in, yes or no.

import { button, el } from "./dom.js";
import { parseJson } from "./turns.js";

/** A form for a call; `decide` is called with {approved, reason, arguments}. */
export function approvalForm({ name, arguments: json, approval }, decide) {
  const { message, schema, allows_edits: allowsEdits, expires_at_s: expiresAtS } = approval;
  const args = parseJson(json || "{}");
  const isOver = Date.now() > expiresAtS * 1000;
  const specs = Object.entries(schema?.properties ?? (allowsEdits && !isOver ? args : {}));
  const fields = specs.map(([key, spec]) => schema
    ? field(key, spec, spec.default, schema.required?.includes(key))
    : field(key, { type: typeof spec }, spec, typeof spec !== "string"));
  const reason = el("input", { autocomplete: "off" });
  const form = el("form", { "aria-label": `Decide on ${name}` });
  const press = (approved) => {
    if (approved && !form.reportValidity()) return;
    const values = approved && fields.length ? { arguments: Object.fromEntries(fields.flatMap(({ read }) => read())) } : {};
    decide({ approved, reason: reason.value.trim(), ...values });
  };
  const until = new Date(expiresAtS * 1000).toLocaleString([], { dateStyle: "medium", timeStyle: "short" });
  form.append(
    el("p", { class: "tool-asked" }, message || (schema ? "What should be sent?" : "May this be done?")),
    ...schema || !fields.length ? [argumentList(args)] : [],
    ...fields.map(({ node }) => node),
    ...isOver ? [] : [el("label", {}, "Reason, if you like", reason)],
    el("p", { class: "figures" }, isOver ? `The time to decide ended on ${until}.` : `To be decided by ${until}`),
  );
  if (!isOver) form.append(el("div", { class: "dialog-actions" },
    button("Deny", () => press(false)), button(schema ? "Send" : "Approve", () => press(true), { class: "strong" })));
  form.addEventListener("submit", (event) => event.preventDefault()); // Enter in a field is no yes
  return form;
}

function argumentList(args) {
  const entries = args && typeof args === "object" ? Object.entries(args) : [["arguments", args]];
  const text = (value) => typeof value === "string" ? value : JSON.stringify(value, null, 1);
  return el("dl", { class: "asked" }, ...entries.map(([key, value]) => (
    el("div", {}, el("dt", {}, label(key)), el("dd", {}, text(value))))));
}

// A field by its JSON schema; `read` gives its [name, value], or nothing if it is empty.
function field(key, { type, title, description, enum: choices, minimum, maximum }, value, required) {
  const text = [title ?? label(key), description].filter(Boolean).join(": ");
  const needed = { required: required ? "" : null };
  if (type === "boolean") {
    const input = el("input", { type: "checkbox" });
    input.checked = value === true;
    return { node: el("label", { class: "check" }, input, text), read: () => [[key, input.checked]] };
  }
  const isNumber = type === "number" || type === "integer";
  const isText = choices || isNumber || type === "string";
  const input = choices
    ? el("select", needed, ...["", ...choices].map((choice) => el("option", { value: choice }, String(choice))))
    : isNumber ? el("input", { type: "number", step: type === "integer" ? "1" : "any", min: minimum, max: maximum, ...needed })
    : el("textarea", { rows: "1", ...needed });
  input.value = value === undefined ? "" : isText ? value : JSON.stringify(value);
  if (!isText) input.addEventListener("input", () => {
    input.setCustomValidity(isJson(input.value) ? "" : "This must be JSON.");
  });
  const parsed = () => choices ? choices.find((choice) => String(choice) === input.value)
    : isNumber ? Number(input.value) : isText ? input.value : JSON.parse(input.value);
  return { node: el("label", {}, text, input), read: () => input.value || value === "" ? [[key, parsed()]] : [] };
}

const label = (key) => key.replaceAll("_", " ");

function isJson(text) {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}
