// The useful part of Markdown: text → a tree of plain objects. Pure: no DOM, no HTML, and never an error.
//
// Blocks:  {type: "heading", level, text} · {type: "paragraph", text} · {type: "code", language, text} · {type: "rule"}
//          {type: "quote", blocks} · {type: "list", start, items: [blocks]} · {type: "table", align, head, rows}
// Inlines: a string · {type: "strong" | "em" | "del", children} · {type: "code", text} · {type: "break"}
//          {type: "link", href, children}
//
// Raw HTML is text like any other. Links lead to http and https only; an image becomes a link to it.

const DEPTH = 8; // of nested quotes and lists, and of emphasis; what is deeper stays text

// Written so that no line, however it was made, takes more than linear time.
const FENCE = /^( {0,3})(`{3,}|~{3,})([^`]*)$/;
const HEADING = /^ {0,3}(#{1,6})(?=[ \t]|$)(.*)$/;
const RULE = /^ {0,3}(?:(?:\*[ \t]*){3,}|(?:-[ \t]*){3,}|(?:_[ \t]*){3,})$/;
const QUOTE = /^ {0,3}> ?/;
const ITEM = /^( {0,3})([-*+]|(\d{1,9})[.)])(?: +(?=\S)| *$)/;
const DELIMITER = /^\|?[ \t]*:?-+:?[ \t]*(?:\|[ \t]*:?-+:?[ \t]*)*\|?$/;

/** Blocks of a whole text. Each has `line`, the number of the line it begins on. */
export function parse(text) {
  return blocksOf(text.split("\n"), 0);
}

function blocksOf(lines, depth) {
  const blocks = [];
  for (let at = 0; at < lines.length;) {
    if (isBlank(lines[at])) at += 1;
    else {
      const [block, next] = blockAt(lines, at, depth);
      blocks.push({ ...block, line: at });
      at = next;
    }
  }
  return blocks;
}

function blockAt(lines, at, depth) {
  const line = lines[at];
  let found;
  if ((found = FENCE.exec(line))) return fencedCode(lines, at, found);
  if ((found = HEADING.exec(line))) return [heading(found), at + 1];
  if (RULE.test(line)) return [{ type: "rule" }, at + 1];
  if (depth < DEPTH && QUOTE.test(line)) return quote(lines, at, depth);
  if (depth < DEPTH && (found = ITEM.exec(line))) return list(lines, at, found, depth);
  if (isTable(lines, at)) return table(lines, at);
  return paragraph(lines, at, depth);
}

function heading([, marks, text]) {
  return { type: "heading", level: marks.length, text: text.trim().replace(/(?<=^|[ \t])#+$/, "").trimEnd() };
}

function fencedCode(lines, at, [, indent, fence, info]) {
  const closing = new RegExp(`^ {0,3}${fence[0]}{${fence.length},}[ \\t]*$`);
  let end = at + 1;
  while (end < lines.length && !closing.test(lines[end])) end += 1;
  const language = info.trim().split(/\s/)[0];
  const inner = lines.slice(at + 1, end).map((line) => line.slice(Math.min(indent.length, indentOf(line))));
  return [{ type: "code", language, text: inner.join("\n") }, Math.min(end + 1, lines.length)];
}

function quote(lines, at, depth) {
  let end = at;
  while (end < lines.length && (QUOTE.test(lines[end]) || continues(lines, end, at, depth))) end += 1;
  const inner = lines.slice(at, end).map((line) => line.replace(QUOTE, ""));
  return [{ type: "quote", blocks: blocksOf(inner, depth + 1) }, end];
}

// A line without a mark of its own belongs to the quote or the item above it, as in "> so\nit goes".
function continues(lines, end, at, depth) {
  return end > at && !isBlank(lines[end]) && !isBlank(lines[end - 1]) && !interrupts(lines, end, depth);
}

function list(lines, at, first, depth) {
  const kind = first[2].at(-1);
  const items = [];
  let end = at;
  for (let mark = first; mark && mark[2].at(-1) === kind; mark = ITEM.exec(lines[end] ?? "")) {
    if (RULE.test(lines[end])) break;
    const next = itemEnd(lines, end, mark, depth);
    items.push(blocksOf(itemLines(lines.slice(end, next), mark), depth + 1));
    end = next;
  }
  return [{ type: "list", start: first[3] === undefined ? null : Number(first[3]), items }, end];
}

function itemEnd(lines, at, mark, depth) {
  const width = widthOf(mark);
  let end = at + 1;
  for (; end < lines.length; end += 1) {
    const line = lines[end];
    if (isBlank(line) || indentOf(line) >= width) continue;
    if (ITEM.test(line) || !continues(lines, end, at, depth)) break;
  }
  return end;
}

function itemLines(lines, mark) {
  const width = widthOf(mark);
  return [lines[0].slice(mark[0].length), ...lines.slice(1).map((line) => line.slice(Math.min(width, indentOf(line))))];
}

// Two more than the mark's own indent, also for numbers, where Markdown asks for three: many writers indent by two.
function widthOf(mark) {
  return mark[1].length + 2;
}

function isTable(lines, at) {
  return lines[at].includes("|") && at + 1 < lines.length && DELIMITER.test(lines[at + 1].trim())
    && cells(lines[at]).length === cells(lines[at + 1]).length;
}

function table(lines, at) {
  const head = cells(lines[at]);
  let end = at + 2;
  while (end < lines.length && !isBlank(lines[end]) && lines[end].includes("|")) end += 1;
  const rows = lines.slice(at + 2, end).map((line) => fitted(cells(line), head.length));
  return [{ type: "table", align: cells(lines[at + 1]).map(alignment), head, rows }, end];
}

function fitted(row, width) {
  return [...row, ...Array(Math.max(0, width - row.length)).fill("")].slice(0, width);
}

function cells(line) {
  const inner = line.trim().replace(/^\|/, "").replace(/(?<!\\)\|$/, "");
  return inner.split(/(?<!\\)\|/).map((cell) => cell.trim().replaceAll("\\|", "|"));
}

function alignment(cell) {
  if (!cell.endsWith(":")) return null;
  return cell.startsWith(":") ? "center" : "end";
}

function paragraph(lines, at, depth) {
  let end = at + 1;
  while (end < lines.length && !isBlank(lines[end]) && !interrupts(lines, end, depth)) end += 1;
  const text = lines.slice(at, end).map((line) => line.trimStart()).join("\n").trimEnd();
  return [{ type: "paragraph", text }, end];
}

function interrupts(lines, at, depth) {
  const line = lines[at];
  const nested = depth < DEPTH && (QUOTE.test(line) || interruptsAsItem(ITEM.exec(line)));
  return nested || FENCE.test(line) || HEADING.test(line) || RULE.test(line) || isTable(lines, at);
}

// "in the year\n1986. What a year" is one paragraph: only a list that begins with 1, and with words, may interrupt.
function interruptsAsItem(mark) {
  return mark !== null && mark[0].length < mark.input.length && (mark[3] === undefined || Number(mark[3]) === 1);
}

function isBlank(line) {
  return /^[ \t]*$/.test(line);
}

function indentOf(line) {
  return /^ */.exec(line)[0].length;
}

// Inlines

const ESCAPED = /\\([!-/:-@[-`{-~])/y;
const BREAK = /(?:  |\\)\n/y;
const TICKS = /`+/y;
const LABEL = /!?\[((?:[^[\]\\]|\\.)*)\]/y;
const TARGET = /\([ \n]*<?((?:[^\s()<>]|\([^\s()<>]*\))+)>?(?:[ \n]+(?:"[^"]*"|'[^']*'))?[ \n]*\)/y;
const UNFINISHED_TARGET = /\([^\s()]*$/y;
const ADDRESS = /<?(https?:\/\/[^\s<>]*[^\s<>.,:;!?'")\]*_~])>?/y;
const MARK = /\*\*|__|~~|\*|_/y;
const PLAIN = /[^\\`![<h*_~ \n]+|[^]/y;

const KINDS = { "**": "strong", "__": "strong", "~~": "del", "*": "em", "_": "em" };

/**
 * Inlines of one block's text. `open` says that more of the text is to come: emphasis, code and links that
 * have begun at its end are then shown as what they are about to be, so that nothing flickers when they close.
 */
export function parseInline(text, open = false) {
  return inlinesOf({ text, open, depth: 0, inLink: false });
}

function inlinesOf(what) {
  const nodes = [];
  const scan = { ...what, at: 0, hopeless: new Set() };
  while (scan.at < scan.text.length) add(nodes, inlineAt(scan));
  return nodes;
}

function add(nodes, node) {
  if (typeof node === "string" && typeof nodes.at(-1) === "string") nodes[nodes.length - 1] += node;
  else nodes.push(node);
}

function inlineAt(scan) {
  return escaped(scan) ?? hardBreak(scan) ?? codeSpan(scan) ?? link(scan) ?? address(scan) ?? emphasis(scan)
    ?? match(scan, PLAIN)[0];
}

function match(scan, pattern) {
  pattern.lastIndex = scan.at;
  const found = pattern.exec(scan.text);
  if (found) scan.at = pattern.lastIndex;
  return found;
}

function escaped(scan) {
  return match(scan, ESCAPED)?.[1];
}

function hardBreak(scan) {
  return match(scan, BREAK) ? { type: "break" } : undefined;
}

function codeSpan(scan) {
  const ticks = match(scan, TICKS)?.[0];
  if (!ticks) return undefined;
  const end = closer(scan, ticks, (found) => found);
  if (end < 0 && !scan.open) return ticks;
  const inner = scan.text.slice(scan.at, end < 0 ? undefined : end).replaceAll("\n", " ");
  scan.at = end < 0 ? scan.text.length : end + ticks.length;
  return { type: "code", text: /^ .*[^ ].* $/.test(inner) ? inner.slice(1, -1) : inner };
}

function link(scan) {
  const start = scan.at;
  const label = match(scan, LABEL);
  if (!label) return undefined;
  const words = label[1] || "image";
  const target = match(scan, TARGET);
  if (target) {
    const href = safeAddress(target[1]);
    return href ? { type: "link", href, children: inside(scan, words, { inLink: true }) } : scan.text.slice(start, scan.at);
  }
  if (scan.open && match(scan, UNFINISHED_TARGET)) return words;
  scan.at = start;
  return undefined;
}

function address(scan) {
  if (scan.inLink || /\w/.test(scan.text[scan.at - 1] ?? "")) return undefined;
  const found = match(scan, ADDRESS);
  if (!found) return undefined;
  const href = safeAddress(found[1]);
  return href ? { type: "link", href, children: [found[1]] } : found[0];
}

/** The address, made absolute and canonical, or null where it is not one of the web. */
export function safeAddress(text) {
  try {
    const { protocol, href } = new URL(text);
    return protocol === "https:" || protocol === "http:" ? href : null;
  } catch {
    return null;
  }
}

function emphasis(scan) {
  const start = scan.at;
  const mark = match(scan, MARK)?.[0];
  if (!mark) return undefined;
  if (scan.open && scan.at === scan.text.length) return ""; // it will say with its next letter what it is
  if (scan.depth >= DEPTH || !mayOpen(scan, start, mark)) return mark;
  const end = closer(scan, mark, (found) => mayClose(scan.text, found, mark));
  if (end < 0 && !scan.open) return mark;
  const children = inside(scan, scan.text.slice(scan.at, end < 0 ? undefined : end), { open: end < 0 });
  scan.at = end < 0 ? scan.text.length : end + mark.length;
  return { type: KINDS[mark], children };
}

function mayOpen({ text, at }, start, mark) {
  return /\S/.test(text[at] ?? "") && (mark[0] !== "_" || !/\w/.test(text[start - 1] ?? ""));
}

function mayClose(text, found, mark) {
  return /\S/.test(text[found - 1]) && text[found - 1] !== "\\"
    && (mark[0] !== "_" || !/\w/.test(text[found + mark.length] ?? ""));
}

// Where the run of `mark` stands that closes what was opened just before `scan.at`, or -1. A mark that found no closer
// once is not looked for again in the same text: what an enemy writes takes no more than linear time.
function closer(scan, mark, isClosing) {
  if (scan.hopeless.has(mark)) return -1;
  for (let found = scan.at; (found = scan.text.indexOf(mark, found)) >= 0;) {
    const run = runLength(scan.text, found, mark[0]);
    if (closes(run, mark) && found > scan.at && isClosing(found)) return found + run - mark.length;
    found += run;
  }
  scan.hopeless.add(mark);
  return -1;
}

// Ticks close ticks of the same number; of emphasis, a run of three closes either kind.
function closes(run, mark) {
  return mark[0] === "`" ? run === mark.length : run === mark.length || run === 3;
}

function runLength(text, at, character) {
  let end = at;
  while (text[end] === character) end += 1;
  return end - at;
}

function inside({ depth, inLink }, text, more) {
  return inlinesOf({ text, open: false, depth: depth + 1, inLink, ...more });
}
