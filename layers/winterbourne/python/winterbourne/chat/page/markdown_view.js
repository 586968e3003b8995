// Renders Markdown that is still streaming in. What is complete is never touched again, but where a definition comes later.

import { button, copyText, el, icon, morph } from "./dom.js";
import { parse, parseInline } from "./markdown.js";
import { citedText } from "./sources.js";
import { t } from "./strings.js";
import { withoutMarks } from "./turns.js";

/** A view of growing text, rendered at most once per animation frame. */
export class MarkdownView {
  node = el("div", { class: "prose" });
  #pending = ""; // text of the blocks that may still change
  #line = 0; // its first line
  #finalCount = 0; // how many child nodes are final
  #waiting = new Map(); // the blocks of those that lack a definition, by index
  #links = { definitions: new Map(), used: new Set(), missing: new Set(), isOpen: true };
  #edition = 0; // another one, other links
  #rafId = 0;

  append(text) {
    this.#pending += text.replaceAll("\r", "");
    this.#rafId ||= requestAnimationFrame(() => this.#render(true));
  }

  /** No more text will come. */
  end() {
    this.#render(false);
    // Whatever an answer begins with, no level is left out below its question's.
    let level = 2;
    for (const heading of this.node.querySelectorAll("h3, h4, h5, h6")) {
      level = Math.min(heading.localName[1], level + 1);
      heading.ariaLevel = level;
    }
  }

  #render(isOpen) {
    cancelAnimationFrame(this.#rafId);
    this.#rafId = 0;
    const { blocks, definitions } = parse(this.#pending, isOpen, this.#line);
    this.#define(definitions, isOpen);
    this.#drawAll(this.node, blocks, isOpen, this.#finalCount);
    if (isOpen) this.#finalize(blocks);
  }

  #define(definitions, isOpen) {
    const known = this.#links.definitions, fresh = [...definitions].filter(([label]) => !known.has(label));
    if (!fresh.length && isOpen === this.#links.isOpen) return;
    for (const [label, href] of fresh) known.set(label, href);
    this.#links.isOpen = isOpen;
    this.#edition += 1;
    for (const [index, block] of this.#waiting) {
      const { missing } = this.node.childNodes[index];
      if (!isOpen || fresh.some(([label]) => missing.has(label))) this.#draw(this.node, index, block, false);
    }
  }

  // Only the last block that begins on a whole line can still grow.
  #finalize(blocks) {
    const lines = this.#pending.split("\n");
    const last = blocks.findLastIndex(({ from, isGuess }) => !isGuess && from < this.#line + lines.length - 1);
    if (last < 1) return;
    this.#pending = lines.slice(blocks[last].from - this.#line).join("\n");
    this.#line = blocks[last].from;
    for (const block of blocks.slice(0, last)) {
      if (this.node.childNodes[this.#finalCount].missing.size) this.#waiting.set(this.#finalCount, block);
      this.#finalCount += 1;
    }
  }

  // The children of a node, from an index on, become those of the blocks.
  #drawAll(parent, blocks, isOpen, from = 0) {
    blocks.forEach((block, index) => this.#draw(parent, from + index, block, isOpen && index === blocks.length - 1));
    while (parent.childNodes.length > from + blocks.length) parent.lastChild.remove();
  }

  // What was drawn of the same lines stays.
  #draw(parent, index, block, isOpen) {
    const version = [block.from, block.to, this.#edition].join();
    const old = parent.childNodes[index];
    if (!isOpen && old?.version === version) return;
    const isTop = parent === this.node;
    if (isTop) this.#links.missing = old?.missing ?? new Set();
    const fresh = BLOCKS[block.type](block, isOpen, this.#links), offset = fresh.childNodes.length;
    if (isTop) fresh.dir ||= "auto";
    const isKept = old?.cloneNode().isEqualNode(fresh.cloneNode()), node = isKept ? old : fresh;
    if (!old) parent.append(fresh);
    else if (!isKept) old.replaceWith(fresh);
    else if (!block.blocks) morph(old, fresh);
    Object.assign(node, { version: isOpen ? "" : version, missing: this.#links.missing });
    if (block.type === "table") this.#drawAll(node.querySelector("table"), block.blocks, isOpen);
    else if (block.blocks) this.#drawAll(node, block.blocks, isOpen, offset);
  }
}

// Block → node, without the blocks within it. `isOpen`: more of its text may come.
const BLOCKS = {
  heading: ({ level, text }, ...how) => el(`h${Math.min(level + 2, 6)}`, {}, ...renderText(text, ...how)),
  paragraph: ({ check, text }, ...how) => el("p", {}, check ? checkbox(check) : null, ...renderText(text, ...how)),
  definition: ({ label, text }, isOpen, links) => el("p", { class: "definition", hidden: links.used.has(label) ? "" : null }, ...renderText(text, isOpen, links)),
  rule: () => el("hr"),
  math: ({ text }) => math("div", text.trimEnd()),
  quote: () => el("blockquote"),
  list: ({ first, isLoose }) => el(first === undefined ? "ul" : "ol", { start: first, class: isLoose ? "loose" : null }),
  item: () => el("li"),
  note: ({ label }) => el("div", { class: "note-text" }, noteButton(label, "note-back", "note-mark")),
  code: renderCode,
  table: renderTable,
  row: renderRow,
};

function renderCode({ language, text }) {
  const label = language || t("markdown.text");
  const copy = ({ currentTarget: copyButton }) => copyText(copyButton.closest(".code").querySelector("code").textContent, copyButton);
  const head = el("div", { class: "code-head" }, label, button(t("markdown.copy"), copy, { icon: "copy" }));
  // What scrolls sideways must be focusable by keyboard.
  const code = el("pre", { tabindex: "0", "aria-label": t("markdown.code", { language: label }) }, el("code", {}, withoutMarks(text).trimEnd()));
  return el("div", { class: "code", dir: "ltr" }, head, code);
}

function renderTable() {
  const table = el("div", { class: "table", tabindex: "0", role: "region", "aria-label": t("markdown.table") }, el("table"));
  return el("div", { class: "table-frame" }, table, button(t("markdown.copyTable"), copyTable, { icon: "copy" }));
}

function renderRow({ align, cells, isHead }, isOpen, links) {
  return el("tr", {}, ...cells.map((text, column) => el(isHead ? "th" : "td",
    { class: align[column] && `align-${align[column]}`, scope: isHead ? "col" : null },
    ...renderText(text, isOpen && column === cells.length - 1, links))));
}

// As text with tabs for a spreadsheet, as HTML for a document.
function copyTable({ currentTarget: copyButton }) {
  const table = copyButton.parentNode.querySelector("table");
  const lines = [...table.rows].map(({ cells }) => [...cells].map((cell) => cell.innerText.replace(/\s+/g, " ")).join("\t"));
  return copyText(lines.join("\n"), copyButton, new XMLSerializer().serializeToString(table));
}

function checkbox(check) {
  const isDone = check !== " ";
  return el("span", { class: "check", role: "img", "aria-label": t(isDone ? "markdown.done" : "markdown.open") }, isDone ? icon("completed") : null);
}

// A note and the mark of it in the text lead to each other.
function noteButton(label, name, other) {
  const jump = ({ currentTarget }) => currentTarget.closest(".prose")
    .querySelector(`.${other}[data-note="${CSS.escape(label)}"]`)?.focus();
  return button(label, jump, { class: name, "data-note": label, "aria-label": t(name === "note-mark" ? "markdown.note" : "markdown.back", { label }) });
}

function math(tag, text) {
  return el(tag, { class: /^\\\(|^\$[^$]/.test(text) ? "math" : "math wide", dir: "ltr", translate: "no" }, withoutMarks(text));
}

function renderText(text, isOpen, links) {
  return parseInline(text, isOpen, links).flatMap(renderInline);
}

function renderInline(inline) {
  if (typeof inline === "string") return citedText(inline);
  const { type, text, href, label } = inline, link = { href, target: "_blank", rel: "noopener noreferrer" };
  const children = () => inline.children.flatMap(renderInline);
  switch (type) {
    case "code": return el("code", {}, withoutMarks(text));
    case "math": return math("span", text);
    case "break": return el("br");
    case "link": return el("a", link, ...children());
    case "image": return picture(text || t("markdown.image"), link);
    case "reference": return el("sup", {}, noteButton(label, "note-mark", "note-back"));
    default: return el(type, {}, ...children());
  }
}

// Another host's image opens in a tab of its own, so that nothing is told to that host before; one that came along, here.
function picture(name, link) {
  const { protocol, host } = new URL(link.href);
  if (protocol !== "data:") return el("a", { class: "picture", ...link }, icon("image"), el("span", {}, name), el("small", {}, host));
  const show = ({ currentTarget }) => currentTarget.replaceChildren(el("img", { src: link.href, alt: name }));
  return button(name, show, { icon: "image", class: "picture" });
}
