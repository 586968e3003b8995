// Building DOM nodes. Nothing on the page ever reads a string as HTML.

const SVG = "http://www.w3.org/2000/svg";

const ICONS = {
  queued: "M8 2.5a5.5 5.5 0 1 0 0 11a5.5 5.5 0 1 0 0-11M8 5v3.2l2.2 1.6",
  started: "M8 2c2.7 3.1 4.3 5.2 4.3 7.5a4.3 4.3 0 0 1-8.6 0C3.7 7.2 5.3 5.1 8 2z",
  completed: "M3.2 8.6l3.2 3.2l6.4-7.4",
  failed: "M4 4l8 8M12 4l-8 8",
  timed_out: "M4.5 2.5h7M4.5 13.5h7M5.5 2.5c0 3 5 4.5 5 11M10.5 2.5c0 3-5 4.5-5 11",
  cancelled: "M3.5 8h9",
  copy: "M5.5 5.5v-3h8v8h-3M2.5 5.5h8v8h-8z",
  retry: "M12.8 6.5A5.2 5.2 0 1 0 13 9.6M13 2.8v3.9h-3.9",
};

/** A node with attributes and children; strings become text, what is null is left out. */
export function el(tag, attributes = {}, ...children) {
  return filled(document.createElement(tag), attributes, children);
}

/** A line drawing in the colour of the text around it, silent for screen readers. */
export function icon(name) {
  const path = filled(document.createElementNS(SVG, "path"), { d: ICONS[name] });
  const attributes = { viewBox: "0 0 16 16", class: "icon", "aria-hidden": "true" };
  return filled(document.createElementNS(SVG, "svg"), attributes, [path]);
}

function filled(node, attributes, children = []) {
  for (const [name, value] of Object.entries(attributes)) if (value != null) node.setAttribute(name, value);
  node.append(...children.filter((child) => child != null));
  return node;
}

/** A button; without `onClick` whoever listens further out acts. */
export function button(label, onClick = null, { name = null, ...more } = {}) {
  const node = el("button", { type: "button", class: "quiet", ...more }, name && icon(name), el("span", {}, label));
  if (onClick) node.addEventListener("click", onClick);
  return node;
}

/** Put text on the clipboard and say so on the button that asked for it. */
export async function copy(text, asked) {
  const label = asked.querySelector("span");
  const before = label.textContent;
  // Browsers have a clipboard on https and on localhost only.
  const copied = await navigator.clipboard?.writeText(text).then(() => true, () => false);
  label.textContent = copied ? "Copied" : "Not allowed here";
  setTimeout(() => { label.textContent = before; }, 1600);
}

/**
 * Make the children of `old`, from number `from` on, like those of `fresh`, keeping every node that can stay:
 * so a selection, a focused button and a scrolled table survive while text is still coming.
 */
export function morph(old, fresh, from = 0) {
  const wanted = [...fresh.childNodes];
  wanted.forEach((node, index) => morphOne(old, old.childNodes[from + index], node));
  while (old.childNodes.length > from + wanted.length) old.lastChild.remove();
}

function morphOne(parent, present, node) {
  if (!present) parent.append(node);
  else if (present.nodeType === Node.TEXT_NODE && node.nodeType === Node.TEXT_NODE) morphText(present, node.data);
  else if (present.cloneNode().isEqualNode(node.cloneNode())) morph(present, node);
  else present.replaceWith(node);
}

function morphText(present, data) {
  if (!data.startsWith(present.data)) present.data = data;
  else if (data !== present.data) present.appendData(data.slice(present.data.length));
}
