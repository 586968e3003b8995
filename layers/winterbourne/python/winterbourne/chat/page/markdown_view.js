// Renders Markdown that is still streaming in; nodes of complete blocks are never touched again.

import { button, el, morph } from "./dom.js";
import { parse, parseInline } from "./markdown.js";
import { citedText } from "./sources.js";
import { t } from "./strings.js";
import { withoutMarks } from "./turns.js";

/** A view of growing text, rendered at most once per animation frame. */
export class MarkdownView {
  node = el("div", { class: "prose" });
  #pending = ""; // text of the blocks that may still change
  #finalizedCount = 0; // how many child nodes are final
  #rafId = 0;

  append(text) {
    this.#pending += text.replaceAll("\r", "");
    this.#rafId ||= requestAnimationFrame(() => this.#render(true));
  }

  /** No more text will come. */
  end() {
    this.#render(false);
  }

  #render(open) {
    cancelAnimationFrame(this.#rafId);
    this.#rafId = 0;
    morph(this.node, el("div", {}, ...renderBlocks(parse(this.#pending), open)), this.#finalizedCount);
    if (open) this.#finalizeBlocks();
  }

  // All blocks but the last are complete. Only whole lines count: a partial one may yet belong to the block above.
  #finalizeBlocks() {
    const end = this.#pending.lastIndexOf("\n") + 1;
    const blocks = parse(this.#pending.slice(0, end));
    if (blocks.length < 2) return;
    this.#finalizedCount += blocks.length - 1;
    this.#pending = this.#pending.split("\n").slice(blocks.at(-1).line).join("\n");
  }
}

// Block → node. `open`: more of its text may come.
const RENDERERS = {
  heading: ({ level, text }, open) => el(`h${Math.min(level + 2, 6)}`, {}, ...renderText(text, open)),
  paragraph: ({ text }, open) => el("p", {}, ...renderText(text, open)),
  rule: () => el("hr"),
  quote: ({ blocks }, open) => el("blockquote", {}, ...renderBlocks(blocks, open)),
  code: renderCode,
  list: renderList,
  table: renderTable,
};

function renderBlocks(blocks, open) {
  return blocks.map((block, index) => RENDERERS[block.type](block, open && index === blocks.length - 1));
}

function renderCode({ language, text }) {
  const copyButton = button(t("markdown.copy"), null, { icon: "copy", "data-copy": "" });
  const label = language || t("markdown.text");
  const head = el("div", { class: "code-head" }, label, copyButton);
  // What scrolls sideways must be focusable by keyboard.
  const code = el("pre", { tabindex: "0", "aria-label": t("markdown.code", { language: label }) }, el("code", {}, withoutMarks(text)));
  return el("div", { class: "code" }, head, code);
}

function renderList({ start, items }, open) {
  const nodes = items.map((blocks, index) => el("li", {}, ...renderItem(blocks, open && index === items.length - 1)));
  return start === null ? el("ul", {}, ...nodes) : el("ol", { start }, ...nodes);
}

// An item of one paragraph, perhaps with nested lists, needs no p element.
function renderItem([first, ...rest], open) {
  if (first?.type !== "paragraph" || rest.some(({ type }) => type !== "list")) {
    return renderBlocks(first ? [first, ...rest] : [], open);
  }
  return [...renderText(first.text, open && !rest.length), ...renderBlocks(rest, open)];
}

function renderTable({ align, head, rows }) {
  const cell = (tag) => (text, column) => {
    const side = align[column];
    return el(tag, { class: side && `align-${side}`, scope: tag === "th" ? "col" : null }, ...renderText(text));
  };
  const body = rows.map((row) => el("tr", {}, ...row.map(cell("td"))));
  const table = el("table", {}, el("thead", {}, el("tr", {}, ...head.map(cell("th")))), el("tbody", {}, ...body));
  return el("div", { class: "table", tabindex: "0", role: "region", "aria-label": t("markdown.table") }, table);
}

function renderText(text, open) {
  return parseInline(text, open).flatMap(renderInline);
}

function renderInline(inline) {
  if (typeof inline === "string") return citedText(inline);
  const children = () => inline.children.flatMap(renderInline);
  switch (inline.type) {
    case "code": return el("code", {}, withoutMarks(inline.text));
    case "break": return el("br");
    case "link": return el("a", { href: inline.href, target: "_blank", rel: "noopener noreferrer" }, ...children());
    default: return el(inline.type, {}, ...children());
  }
}
