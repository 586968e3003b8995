// A parser for Markdown, as CommonMark and GitHub have it: text → a tree of plain objects. No DOM, never an error.
//
// Blocks: heading {level, text}, paragraph {text, check}, code {language, text}, math {text}, rule, quote {blocks},
// list {first, isLoose, blocks: items}, item {blocks}, table {align, blocks: rows}, row {cells}, note {label, blocks},
// definition {label, text}. Each stands on the lines from `from` to before `to`.
// Inlines: a string, strong, em, del, span, sub, sup and kbd {children}, code and math {text}, link {href, children},
// image {href, text}, reference {label} to a note, break.
//
// HTML stays text, formulas stay as they are. Links lead to http and https only. No input takes much more than linear
// time. The terms are CommonMark's.

const MAX_DEPTH = 8; // of nested quotes and items, and of marks of emphasis; what is deeper stays text

const FENCE = /^( {0,3})(`{3,}(?!.*`)|~{3,}|(?:\$\$|\\\[)(?=[ \t]*$))[ \t]*(\S*)/;
const HEADING = /^ {0,3}(#{1,6})(?=[ \t]|$)(.*)$/;
const UNDERLINE = /^ {0,3}(=+|-+)[ \t]*$/;
const RULE = /^ {0,3}(?:(?:\*[ \t]*){3,}|(?:-[ \t]*){3,}|(?:_[ \t]*){3,})$/;
const QUOTE = /^ {0,3}> ?/;
const ITEM = /^( {0,3})([-*+]|(\d{1,9})[.)])(?:[ \t]{1,4}(?=\S)|[ \t]|$)/;
const TASK = /^\[([ xX])\](?:[ \t]+|$)/;
const NOTE = /^ {0,3}\[\^([^\]\s]+)\]:[ \t]*/;
const DEFINITION = /^ {0,3}\[((?:[^[\]\\]|\\.)+)\]:[ \t]*<?([^\s<>]+)>?(?:[ \t]+(?:"[^"]*"|'[^']*'|\([^()]*\)))?[ \t]*$/;
const DELIMITER_ROW = /^\|?[ \t]*:?-+:?[ \t]*(?:\|[ \t]*:?-+:?[ \t]*)*\|?$/;

// A line that the next character may yet make any kind of block.
const HALF = /^[ \t>]*(?:(?:[-*+]|\d{1,9}[.)])[ \t]+){0,3}(?:[-=*_+`~#$:| \t]+|\d{1,9}[.)]?|\\\[?|\[[^\]]*\]?|\[(?!\^)[^\]]+\]:.*)?$/;

/**
 * → {blocks, definitions}, the latter by label: of a link its URL, of a note "".
 * `open`: more text will come, so a last line that may become anything is left out; `line` is the number of the first.
 */
export function parse(text, open = false, line = 0) {
  const parser = new BlockParser(), lines = text.split("\n");
  parser.line = line;
  if (open && HALF.test(lines.at(-1))) lines.pop();
  for (const each of lines) parser.add(each);
  if (open) parser.expectTable();
  return parser;
}

class BlockParser {
  blocks = [];
  definitions = new Map();
  line = 0; // the number of the next line
  #stack = [this]; // the blocks that the next line may belong to, each within the one before
  #wasBlank = false;

  add(line) {
    let depth = 1;
    for (let rest; depth < this.#stack.length && (rest = enter(this.#stack[depth], line)) !== undefined; depth += 1) line = rest;
    if (!this.#takes(this.#stack[depth], line)) {
      const known = depth;
      for (let rest; (rest = this.#openContainer(depth, line)) !== undefined; depth = this.#stack.length) line = rest;
      if (isBlank(line)) this.#stack.length = depth;
      else this.#addLeaf(depth, line);
      this.#wasBlank = isBlank(line) && depth === known && this.#stack.at(-1).type !== "quote";
    }
    this.line += 1;
    for (const block of this.#stack) block.to = (block.list ?? block).to = this.line;
  }

  /** Take a line that may be the head of a table for one. */
  expectTable() {
    const leaf = this.#stack.at(-1);
    if (leaf.type === "paragraph" && /(^|\n)\|.*$/.test(leaf.text)) this.#beginTable(leaf, []);
  }

  // Code and formulas take any line until they are closed, or what was indented no longer is.
  #takes(leaf, line) {
    if (leaf?.indent === undefined || (!leaf.closing && !isBlank(line) && indentOf(line) < 4)) return false;
    const isClosed = leaf.closing?.test(line);
    if (isClosed) this.#stack.pop();
    if (!isClosed || leaf.type === "math") leaf.text += `${outdent(line, leaf.indent)}\n`;
    this.#wasBlank = !leaf.closing && isBlank(line);
    return true;
  }

  #append(block) {
    const parent = this.#stack.at(-1);
    if (this.#wasBlank && parent.list && parent.blocks.length) parent.list.isLoose = true;
    parent.blocks.push(Object.assign(block, { from: this.line, to: this.line + 1 }));
  }

  #push(depth, block) {
    this.#stack.length = depth;
    this.#append(block);
    this.#stack.push(block);
  }

  // Opens a quote, item or note; returns the rest of the line.
  #openContainer(depth, line) {
    if (depth > MAX_DEPTH) return undefined;
    const quote = QUOTE.exec(line), item = ITEM.exec(line), note = NOTE.exec(line);
    const isInterrupting = this.#stack[depth]?.type === "paragraph";
    if (quote) this.#push(depth, { type: "quote", blocks: [] });
    else if (note && !isInterrupting) {
      this.definitions.set(`^${labelOf(note[1])}`, "");
      this.#push(depth, { type: "note", label: note[1], need: 2, width: 4, blocks: [] });
    } else if (item && !RULE.test(line) && (!isInterrupting || canInterrupt(item))) this.#openItem(depth, item);
    else return undefined;
    return line.slice((quote ?? note ?? item)[0].length);
  }

  #openItem(depth, [{ length }, { length: indent }, sign, digits]) {
    const kind = sign.at(-1);
    this.#stack.length = depth;
    const { blocks } = this.#stack.at(-1);
    if (blocks.at(-1)?.kind === kind) blocks.at(-1).isLoose ||= this.#wasBlank;
    else this.#append({ type: "list", kind, first: digits && Number(digits), isLoose: false, blocks: [] });
    const width = Math.max(length, indent + sign.length + 1);
    // What continues a numbered item is indented by two at least, where CommonMark asks for three: many models do so.
    const item = { type: "item", list: blocks.at(-1), need: digits ? indent + 2 : width, width, blocks: [] };
    this.#stack.push(item.list);
    this.#wasBlank = false;
    this.#append(item);
    this.#stack[depth] = item;
  }

  #addLeaf(depth, line) {
    const last = this.#stack.at(-1), own = this.#stack[depth];
    const match = (pattern) => (found = pattern.exec(line));
    let found;
    if (match(FENCE)) this.#push(depth, fenced(found));
    else if (match(HEADING)) this.#addClosed(depth, heading(found));
    else if (own?.type === "paragraph" && match(UNDERLINE)) {
      Object.assign(own, { type: "heading", level: found[1][0] === "=" ? 1 : 2 });
      this.#stack.length = depth;
    } else if (match(RULE)) this.#addClosed(depth, { type: "rule" });
    else if (own?.type === "paragraph" && isTable(own, line)) this.#beginTable(own, cells(line).map(alignment));
    else if (last.type === "paragraph") last.text += `\n${line.trimStart()}`;
    else if (indentOf(line) >= 4) this.#push(depth, { type: "code", language: "", indent: 4, text: `${outdent(line, 4)}\n` });
    else if (match(DEFINITION) && safeUrl(decode(found[2]))) this.#define(depth, found);
    else if (own?.type === "table" && line.includes("|")) this.#append(row(own, line));
    else this.#addText(depth, line.trimStart());
  }

  #addClosed(depth, block) {
    this.#push(depth, block);
    this.#stack.pop();
  }

  #addText(depth, text) {
    const parent = this.#stack[depth - 1];
    const task = parent.type === "item" && !parent.blocks.length && TASK.exec(text);
    this.#push(depth, task ? { type: "paragraph", check: task[1], text: text.slice(task[0].length) } : { type: "paragraph", text });
  }

  #define(depth, [text, label, target]) {
    const key = labelOf(label);
    if (!this.definitions.has(key)) this.definitions.set(key, safeUrl(decode(target)));
    this.#addClosed(depth, { type: "definition", label: key, text: text.trim() });
  }

  // The last line of a paragraph becomes the head of a table.
  #beginTable(paragraph, align) {
    const lines = paragraph.text.split("\n"), head = lines.pop();
    const table = { type: "table", align, blocks: [] };
    if (lines.length) {
      paragraph.text = lines.join("\n");
      this.#push(this.#stack.length - 1, table);
    } else Object.assign(paragraph, table);
    this.#append(row(this.#stack.at(-1), head));
  }
}

// The rest of a line that goes on with a container, or undefined.
function enter({ type, need, width, blocks }, line) {
  if (type === "quote") return QUOTE.test(line) ? line.replace(QUOTE, "") : undefined;
  if (width && (isBlank(line) ? blocks.length : indentOf(line) >= need)) return outdent(line, width);
  return undefined;
}

function fenced([line, { length: indent }, fence, language]) {
  if (/^[`~]/.test(fence)) {
    const closing = new RegExp(`^ {0,3}${fence[0]}{${fence.length},}[ \\t]*$`);
    return { type: "code", language, indent, closing, text: "" };
  }
  return { type: "math", indent, closing: fence === "$$" ? /\$\$[ \t]*$/ : /\\\][ \t]*$/, text: `${line}\n` };
}

function heading([, hashes, text]) {
  return { type: "heading", level: hashes.length, text: text.trim().replace(/(?<=^|[ \t])#+$/, "").trimEnd() };
}

function isTable({ text }, line) {
  const head = text.slice(text.lastIndexOf("\n") + 1);
  return head.includes("|") && DELIMITER_ROW.test(line.trim()) && cells(head).length === cells(line).length;
}

function row({ align, blocks: [head] }, line) {
  const texts = cells(line);
  return { type: "row", align, isHead: !head, cells: head ? head.cells.map((_, column) => texts[column] ?? "") : texts };
}

function cells(line) {
  const content = line.trim().replace(/^\|/, "").replace(/(?<!\\)\|$/, "");
  return content.split(/(?<!\\)\|/).map((cell) => cell.trim().replaceAll("\\|", "|"));
}

function alignment(cell) {
  if (!cell.endsWith(":")) return null;
  return cell.startsWith(":") ? "center" : "end";
}

// "born in\n1986. Died in" is one paragraph: only an item that is not empty, and numbered 1 if at all, may interrupt.
function canInterrupt({ 0: marker, 3: digits, input }) {
  return !isBlank(input.slice(marker.length)) && (digits === undefined || Number(digits) === 1);
}

const isBlank = (line) => !/\S/.test(line);

const labelOf = (text) => text.trim().replace(/\s+/g, " ").toLowerCase();

// A tab goes to the next multiple of four.
const withoutTab = (line) => line.replace(/^( {0,3})\t/, "    ");

const indentOf = (line) => withoutTab(line).search(/[^ ]|$/);

function outdent(line, width) {
  return width ? withoutTab(line).slice(Math.min(width, indentOf(line))) : line;
}

const LITERAL = /\\([!-/:-@[-`{-~])|&(?:#(\d{1,7})|#x([\da-f]{1,6})|([a-z]\w{1,30}));/iy;
const MATH = /\\\((?:[^\\]|\\[^()])+\\\)|\\\[(?:[^\\]|\\[^[\]])+\\\]|\$\$(?:[^$\\]|\\[^])+\$\$|\$(?=[^\s$])(?:[^$\\]|\\[^])*(?<!\s)\$(?![\w$])/y;
const HARD_BREAK = /(?: {2,}|\\)\n|<br ?\/?>/iy;
const BACKTICKS = /`+/y;
const LINK_TEXT = /!?\[((?:[^[\]\\]|\\[^]|\[(?:[^[\]\\]|\\[^])*\])*)\]/y;
const LINK_TARGET = /\([ \n]*(?:<([^<>\n]*)>|((?:[^\s()<>\\]|\\[^]|\((?:[^\s()<>\\]|\\[^])*\))*))(?:[ \n]+(?:"[^"]*"|'[^']*'|\([^()]*\)))?[ \n]*\)/y;
const LINK_LABEL = /\[([^[\]]*)\]/y;
const HTML = /<(sub|sup|kbd)>([^<]*)<\/\1>/y;
const AUTOLINK = /<(https?:\/\/[^\s<>]*)>|(?<!\w)(https?:\/\/(?:[.,:;!?'"*_~\]]*(?:\([^\s()<>]*\)|[^\s<>().,:;!?'"*_~\]\u3000-\u3003\u3008-\u301f\uff01-\uff0f\uff1a-\uff1f\u201c\u201d]))+)/y;
const MARKS = /\*+|_+|~~/y;
const PLAIN_TEXT = /(?:[^\\`![<h*_~$& \n]| (?=[^ \n])|h(?!ttp))+|[^]/y;

// What is not closed yet.
const OPEN_MATH = /(?:\\\(|\\\[|\$\$)[^]*$/y;
const OPEN_LINK = /!?\[((?:[^[\]\\]|\\[^])*)(?:\](?:\([^\s()]*(?:\s+["'][^)]*)?|\[[^\]]*)?)?$/y;
const OPEN_LITERAL = /(?:\\|&#?\w*|<[a-z]*(?:>[^<\s]*<?\/?\w*)?)$/iy;

const PUNCTUATION = /[\p{P}\p{S}]/u;
const BEGINNING = /[\p{Ps}\p{Pi}]/u;
const ENDING = /[\p{Pe}\p{Pf}.,:;!?%\u3001\u3002\uff01\uff0c\uff1a\uff1b\uff1f]/u;

const ENTITIES = new Map("amp& lt< gt> quot\" apos' nbsp\xa0 copy© reg® trade™ hellip… ndash– mdash— lsquo‘ rsquo’ ldquo“ rdquo” laquo« raquo» bull• middot· deg° plusmn± times× divide÷ le≤ ge≥ ne≠ larr← rarr→ euro€ pound£ frac12½ sup2²"
  .split(" ").map((each) => [each.slice(0, -1), each.at(-1)]));

/**
 * The inlines of a text. `open`: more of it will come, so what is unclosed is shown as closed, and nothing flickers when
 * it closes. `links`: {definitions, used, missing, isOpen}, the known ones, the labels that were asked for, those of them
 * that were not found, and whether more may come.
 */
export function parseInline(text, open, links) {
  return parseInlines({ text, open, links, inLink: false });
}

function parseInlines(options) {
  const scan = { ...options, pos: 0, unclosed: new Set(), frames: [{ children: [] }] };
  while (scan.pos < scan.text.length) {
    const node = nextInline(scan);
    push(scan.frames.at(-1).children, node);
  }
  while (scan.frames.length > 1) leaveFrame(scan, scan.open);
  return scan.frames[0].children;
}

function push(nodes, node) {
  if (typeof node === "string" && typeof nodes.at(-1) === "string") nodes.push(nodes.pop() + node);
  else if (node !== "") nodes.push(node);
}

function nextInline(scan) {
  return math(scan) ?? literal(scan) ?? hardBreak(scan) ?? codeSpan(scan) ?? link(scan) ?? autolink(scan) ?? html(scan)
    ?? marks(scan) ?? consume(scan, PLAIN_TEXT)[0];
}

function consume(scan, pattern) {
  pattern.lastIndex = scan.pos;
  const match = pattern.exec(scan.text);
  if (match) scan.pos = pattern.lastIndex;
  return match;
}

function math(scan) {
  const match = consume(scan, MATH) ?? (scan.open && consume(scan, OPEN_MATH));
  return match ? { type: "math", text: match[0] } : null;
}

function literal(scan) {
  const match = consume(scan, LITERAL);
  if (match) return meaning(...match);
  return scan.open && consume(scan, OPEN_LITERAL) ? "" : null;
}

function meaning(all, escaped, decimal, hex, name) {
  if (escaped) return escaped;
  if (name) return ENTITIES.get(name) ?? all;
  const code = decimal ? Number(decimal) : parseInt(hex, 16);
  return String.fromCodePoint(code && code < 0x110000 ? code : 0xfffd);
}

function decode(text) {
  return text.replace(new RegExp(LITERAL, "gi"), meaning);
}

function hardBreak(scan) {
  return consume(scan, HARD_BREAK) ? { type: "break" } : null;
}

function codeSpan(scan) {
  const ticks = consume(scan, BACKTICKS)?.[0];
  if (!ticks) return null;
  // What was not found once is not searched for again.
  const match = !scan.unclosed.has(ticks) && consume(scan, new RegExp(`([^]*?[^\`])${ticks}(?!\`)`, "y"));
  if (!match) scan.unclosed.add(ticks);
  if (!match && !scan.open) return ticks;
  const text = (match ? match[1] : scan.text.slice(scan.pos)).replaceAll("\n", " ");
  if (!match) scan.pos = scan.text.length;
  return { type: "code", text: /^ .*[^ ].* $/.test(text) ? text.slice(1, -1) : text };
}

function link(scan) {
  const { pos: start, links } = scan, open = scan.open && consume(scan, OPEN_LINK);
  if (open) return open[1][0] === "^" ? "" : { type: "span", children: parseChildren(scan, open[1]) };
  const [all, text] = consume(scan, LINK_TEXT) ?? [];
  if (!all) return null;
  const isImage = all[0] === "!", isNote = text[0] === "^";
  const target = consume(scan, LINK_TARGET), label = target || isNote ? "" : consume(scan, LINK_LABEL)?.[1];
  const href = target ? safeUrl(decode(target[1] ?? target[2]), isImage) : findDefinition(scan, label || text);
  if (href) return linkTo(scan, href, isImage, text);
  if (target) return scan.text.slice(start, scan.pos);
  if (isNote && (href === "" || links.isOpen)) return { type: "reference", label: text.slice(1) };
  if (label && links.isOpen && /\p{L}{2}/u.test(text)) return { type: "span", children: parseChildren(scan, text) };
  scan.pos = start;
  return null;
}

function findDefinition({ open, links }, text) {
  const label = labelOf(text), found = links.definitions.get(label);
  if (!open && !(links.used.get(label) <= links.line)) links.used.set(label, links.line);
  if (!open && found === undefined) links.missing.add(label);
  return found;
}

function linkTo(scan, href, isImage, text) {
  if (isImage) return scan.inLink ? text : { type: "image", href, text };
  return { type: "link", href, children: parseChildren(scan, text || href) };
}

function autolink(scan) {
  if (scan.inLink) return null;
  const match = consume(scan, AUTOLINK), text = match?.[1] ?? match?.[2];
  const href = match && safeUrl(text);
  return href ? { type: "link", href, children: [text] } : match?.[0];
}

// The URL in canonical form, or null if it is not http or https, nor the image itself where that may be.
export function safeUrl(text, isImage = false) {
  if (isImage && /^data:image\/[\w.+-]+[;,]/i.test(text)) return text;
  const url = URL.parse(text);
  return url && ["http:", "https:"].includes(url.protocol) ? url.href : null;
}

function html(scan) {
  const match = consume(scan, HTML);
  return match && { type: match[1], children: parseChildren(scan, match[2]) };
}

function parseChildren({ links }, text) {
  return parseInlines({ text, open: false, links, inLink: true });
}

// Emphasis, with a frame for each run of marks that is not closed yet: {mark, count, length, canClose, children}.
function marks(scan) {
  const { text, pos: start, frames } = scan, run = consume(scan, MARKS)?.[0];
  if (!run) return null;
  if (scan.open && scan.pos === text.length) return ""; // the next character decides what it is
  const [mark] = run, before = text[start - 1] ?? " ", after = text[scan.pos] ?? " ";
  const begins = isFlanking(after, before, BEGINNING), ends = isFlanking(before, after, ENDING);
  // Underscores within words, as in snake_case, are plain text.
  const canOpen = begins && (mark !== "_" || !ends || PUNCTUATION.test(before));
  const canClose = ends && (mark !== "_" || !begins || PUNCTUATION.test(after));
  const count = canClose ? closeFrames(scan, run, canOpen) : run.length;
  if (!count || !canOpen) return mark.repeat(count);
  if (frames.length > MAX_DEPTH) flatten(frames[0].children, frames.splice(1, 1)[0]);
  frames.push({ mark, count, length: run.length, canClose, children: [] });
  return "";
}

// CommonMark leaves **「so」**so as it is. Here brackets, commas and the like are no reason to.
function isFlanking(inner, outer, friendly) {
  return /\S/.test(inner) && (!PUNCTUATION.test(inner) || friendly.test(inner) || /\s/.test(outer) || PUNCTUATION.test(outer));
}

// Closes what the run closes; returns how many of its marks are left.
function closeFrames(scan, run, canOpen) {
  const { frames } = scan;
  for (let count = run.length; ; ) {
    const index = frames.findLastIndex(({ mark, length, canClose }) => mark === run[0]
      && (!(canOpen || canClose) || (length + run.length) % 3 || length % 3 === 0));
    if (index < 0 || !count) return count;
    while (frames.length > index + 1) leaveFrame(scan, false);
    const size = wrap(frames[index], count);
    count -= size;
    if (!frames[index].count) leaveFrame(scan, false);
  }
}

function wrap(frame, count) {
  const size = Math.min(2, frame.count, count);
  frame.children = [{ type: frame.mark === "~" ? "del" : size > 1 ? "strong" : "em", children: frame.children }];
  frame.count -= size;
  return size;
}

function leaveFrame({ frames }, isClosed) {
  const frame = frames.pop();
  while (isClosed && !frame.canClose && frame.children.length && frame.count) wrap(frame, 2);
  flatten(frames.at(-1).children, frame);
}

function flatten(nodes, { mark, count, children }) {
  for (const node of [mark.repeat(count), ...children]) push(nodes, node);
}
