// Markdown that is still being written, as DOM nodes: blocks that are whole are never touched again.

import { button, el, morph } from "./dom.js";
import { parse, parseInline } from "./markdown.js";

/** Text that grows. Nodes are made once per frame of the screen, however many pieces came in between. */
export class MarkdownView {
  node = el("div", { class: "prose" });
  #tail = ""; // from the first block that may still change
  #settled = 0; // how many children of the node will not change any more
  #asked = 0;

  append(text) {
    this.#tail += text.replaceAll("\r", "");
    this.#asked ||= requestAnimationFrame(() => this.#draw(true));
  }

  /** Nothing more will come. */
  end() {
    this.#draw(false);
  }

  #draw(open) {
    cancelAnimationFrame(this.#asked);
    this.#asked = 0;
    morph(this.node, el("div", {}, ...drawBlocks(parse(this.#tail), open)), this.#settled);
    if (open) this.#settle();
  }

  // All blocks but the last are whole, judged by whole lines: the line still being written might yet turn out
  // to belong to the block above it.
  #settle() {
    const end = this.#tail.lastIndexOf("\n") + 1;
    const blocks = parse(this.#tail.slice(0, end));
    if (blocks.length < 2) return;
    this.#settled += blocks.length - 1;
    this.#tail = this.#tail.split("\n").slice(blocks.at(-1).line).join("\n");
  }
}

// Block → node. `open` says that its text may go on.
const DRAWINGS = {
  heading: ({ level, text }, open) => el(`h${Math.min(level + 2, 6)}`, {}, ...inlines(text, open)),
  paragraph: ({ text }, open) => el("p", {}, ...inlines(text, open)),
  rule: () => el("hr"),
  quote: ({ blocks }, open) => el("blockquote", {}, ...drawBlocks(blocks, open)),
  code: drawCode,
  list: drawList,
  table: drawTable,
};

function drawBlocks(blocks, open) {
  return blocks.map((block, index) => DRAWINGS[block.type](block, open && index === blocks.length - 1));
}

function drawCode({ language, text }) {
  const copy = button("Copy", null, { name: "copy", "data-copy": "" });
  const head = el("div", { class: "code-head" }, language || "text", copy);
  // A block that scrolls sideways has to be reachable for the keyboard.
  const code = el("pre", { tabindex: "0", "aria-label": `Code, ${language || "text"}` }, el("code", {}, text));
  return el("div", { class: "code" }, head, code);
}

function drawList({ start, items }, open) {
  const drawn = items.map((blocks, index) => el("li", {}, ...drawItem(blocks, open && index === items.length - 1)));
  return start === null ? el("ul", {}, ...drawn) : el("ol", { start }, ...drawn);
}

// An item that is one paragraph, perhaps with a list below it, needs no paragraph around its words.
function drawItem([first, ...rest], open) {
  if (first?.type !== "paragraph" || rest.some(({ type }) => type !== "list")) {
    return drawBlocks(first ? [first, ...rest] : [], open);
  }
  return [...inlines(first.text, open && !rest.length), ...drawBlocks(rest, open)];
}

function drawTable({ align, head, rows }) {
  const cell = (tag) => (text, column) => {
    const end = align[column];
    return el(tag, { class: end && `align-${end}`, scope: tag === "th" ? "col" : null }, ...inlines(text, false));
  };
  const body = rows.map((row) => el("tr", {}, ...row.map(cell("td"))));
  const table = el("table", {}, el("thead", {}, el("tr", {}, ...head.map(cell("th")))), el("tbody", {}, ...body));
  return el("div", { class: "table", tabindex: "0", role: "region", "aria-label": "Table" }, table);
}

function inlines(text, open) {
  return parseInline(text, open).map(drawInline);
}

function drawInline(node) {
  if (typeof node === "string") return document.createTextNode(node);
  const children = () => node.children.map(drawInline);
  switch (node.type) {
    case "code": return el("code", {}, node.text);
    case "break": return el("br");
    case "link": return el("a", { href: node.href, target: "_blank", rel: "noopener noreferrer" }, ...children());
    default: return el(node.type, {}, ...children());
  }
}
