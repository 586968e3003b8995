// Helpers that create and update DOM nodes. No string is ever parsed as HTML.

import { t } from "./strings.js";

/** Call a handler of the target's events; the arguments are those of its addEventListener. */
export const on = (target, ...listener) => target.addEventListener(...listener);

/** The element of this id, which is in the document. */
export const byId = (id) => document.getElementById(id);

export const root = document.documentElement;
/** The conversation's questions and answers. */
export const log = byId("log");
/** What only screen readers are told. */
export const statusNode = byId("status");

const SVG = "http://www.w3.org/2000/svg";

const ICONS = {
  queued: "M8 2.5a5.5 5.5 0 1 0 0 11a5.5 5.5 0 1 0 0-11M8 5v3.2l2.2 1.6",
  started: "M8 2c2.7 3.1 4.3 5.2 4.3 7.5a4.3 4.3 0 0 1-8.6 0C3.7 7.2 5.3 5.1 8 2z",
  completed: "M3.2 8.6l3.2 3.2l6.4-7.4",
  failed: "M4 4l8 8M12 4l-8 8",
  timed_out: "M4.5 2.5h7M4.5 13.5h7M5.5 2.5c0 3 5 4.5 5 11M10.5 2.5c0 3-5 4.5-5 11",
  cancelled: "M3.5 8h9",
  denied: "M3.5 12.5l9-9",
  approval_requested: "M5 5.5a3 3 0 1 1 3 3v2M8 13v.3",
  copy: "M5.5 5.5v-3h8v8h-3M2.5 5.5h8v8h-8z",
  retry: "M12.8 6.5A5.2 5.2 0 1 0 13 9.6M13 2.8v3.9h-3.9",
  info: "M8 1.8a6.2 6.2 0 1 0 0 12.4a6.2 6.2 0 1 0 0-12.4M8 7.4v3.8M8 4.8v.1",
  file: "M4 1.8h5l3.2 3.2v9.2H4zM9 1.8v3.4h3.2",
  image: "M2.5 3h11v10h-11zM2.5 11l3.4-3.4l2.6 2.6l1.6-1.6l3.4 3.4M10.4 5.9v.1",
  edit: "M3 13l.6-2.8l7-7l2.2 2.2l-7 7z",
};

/** Create an element; strings become text nodes, nulls are skipped. */
export function el(tag, attributes = {}, ...children) {
  return populate(document.createElement(tag), attributes, children);
}

/** An icon in the colour of the text, hidden from screen readers. */
export function icon(name) {
  const path = populate(document.createElementNS(SVG, "path"), { d: ICONS[name] });
  const attributes = { viewBox: "0 0 16 16", class: "icon", "aria-hidden": "true" };
  return populate(document.createElementNS(SVG, "svg"), attributes, [path]);
}

function populate(node, attributes, children = []) {
  for (const [name, value] of Object.entries(attributes)) if (value != null) node.setAttribute(name, value);
  node.append(...children.filter((child) => child != null));
  return node;
}

/** A button; without `onClick`, an ancestor handles the click. */
export function button(label, onClick, { icon: name, ...attributes } = {}) {
  const node = el("button", { type: "button", class: "quiet", ...attributes },
    name && icon(name), el("span", {}, label));
  if (onClick) on(node, "click", onClick);
  return node;
}

/** Copy text, perhaps with HTML of the same, to the clipboard; the button's label briefly shows the result. */
export async function copyText(text, copyButton, html) {
  const label = copyButton.querySelector("span");
  const labelText = copyButton.dataset.label ??= label.textContent; // also if it is pressed again meanwhile
  // Browsers have a clipboard on https and localhost only.
  const kinds = Object.entries({ "text/plain": text, ...html && { "text/html": html } });
  const blobs = Object.fromEntries(kinds.map(([type, content]) => [type, new Blob([content], { type })]));
  const copied = await navigator.clipboard?.write([new ClipboardItem(blobs)]).then(() => true, () => false);
  label.textContent = t(copied ? "answer.copied" : "answer.notCopied");
  setTimeout(() => { label.textContent = labelText; }, 1600);
}

/**
 * Make the children of `parent`, from index `offset` on, equal to those of `source`. Nodes are reused where possible,
 * so selection, focus and scroll positions survive.
 */
export function morph(parent, source, offset = 0) {
  const nodes = [...source.childNodes];
  nodes.forEach((node, index) => morphNode(parent, parent.childNodes[offset + index], node));
  while (parent.childNodes.length > offset + nodes.length) parent.lastChild.remove();
}

function morphNode(parent, old, node) {
  if (!old) parent.append(node);
  else if (old instanceof Text && node instanceof Text) morphText(old, node.data);
  else if (old.cloneNode().isEqualNode(node.cloneNode())) morph(old, node);
  else old.replaceWith(node);
}

function morphText(node, data) {
  if (!data.startsWith(node.data)) node.data = data;
  else if (data !== node.data) node.appendData(data.slice(node.data.length));
}
