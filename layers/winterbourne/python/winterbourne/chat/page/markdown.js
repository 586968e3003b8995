// The useful part of Markdown: text → a tree of plain objects. Pure: no DOM, no HTML, and never an error.
//
// Blocks: heading {level, text}, paragraph {text}, code {language, text}, rule, quote {blocks}, list {start, items},
// table {align, head, rows}. Inlines: a string, strong and em {children}, code {text}, link {href, children}, break.
//
// HTML is text like any other. Links lead to http and https only; an image becomes a link to it. No text, however it
// was made, takes much more than linear time.

const DEPTH = 8; // of nested quotes and lists, and of emphasis; what is deeper stays text

const FENCE = /^( {0,3})(`{3,}|~{3,})([^`]*)$/;
const HEADING = /^ {0,3}(#{1,6})(?=[ \t]|$)(.*)$/;
const RULE = /^ {0,3}(?:(?:\*[ \t]*){3,}|(?:-[ \t]*){3,}|(?:_[ \t]*){3,})$/;
const QUOTE = /^ {0,3}> ?/;
const ITEM = /^( {0,3})([-*+]|(\d{1,9})[.)])(?: +(?=\S)| *$)/;
const DELIMITER = /^\|?[ \t]*:?-+:?[ \t]*(?:\|[ \t]*:?-+:?[ \t]*)*\|?$/;

/** The blocks of a text. Each has `line`, the number of the line it begins on. */
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
  const end = endOf(lines, at + 1, (line) => !closing.test(line));
  const text = lines.slice(at + 1, end).map((line) => outdented(line, indent.length)).join("\n");
  return [{ type: "code", language: info.trim().split(/\s/)[0], text }, end + 1];
}

function quote(lines, at, depth) {
  const end = endOf(lines, at, (line, index) => QUOTE.test(line) || (index > at && continues(lines, index, depth)));
  const inner = lines.slice(at, end).map((line) => line.replace(QUOTE, ""));
  return [{ type: "quote", blocks: blocksOf(inner, depth + 1) }, end];
}

function list(lines, at, first, depth) {
  const kind = first[2].at(-1);
  const items = [];
  for (let mark = first; mark?.[2].at(-1) === kind && !RULE.test(mark.input); mark = ITEM.exec(lines[at] ?? "")) {
    // Two more than the mark's own indent, also for numbers, where Markdown asks for three: many indent by two.
    const width = mark[1].length + 2;
    const end = endOf(lines, at + 1, (line, index) => isBlank(line) || line.startsWith(" ".repeat(width))
      || (!ITEM.test(line) && continues(lines, index, depth)));
    const rest = lines.slice(at + 1, end).map((line) => outdented(line, width));
    items.push(blocksOf([lines[at].slice(mark[0].length), ...rest], depth + 1));
    at = end;
  }
  return [{ type: "list", start: first[3] === undefined ? null : Number(first[3]), items }, at];
}

function isTable(lines, at) {
  const delimiter = lines[at + 1]?.trim() ?? "";
  return lines[at].includes("|") && DELIMITER.test(delimiter) && cells(lines[at]).length === cells(delimiter).length;
}

function table(lines, at) {
  const head = cells(lines[at]);
  const end = endOf(lines, at + 2, (line) => line.includes("|"));
  const rows = lines.slice(at + 2, end).map(cells).map((row) => head.map((_, column) => row[column] ?? ""));
  return [{ type: "table", align: cells(lines[at + 1]).map(alignment), head, rows }, end];
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
  const end = endOf(lines, at + 1, (_, index) => continues(lines, index, depth));
  return [{ type: "paragraph", text: lines.slice(at, end).map((line) => line.trimStart()).join("\n").trimEnd() }, end];
}

// A line without a mark of its own goes on with the text above it, also with that of a quote or an item.
function continues(lines, at, depth) {
  const line = lines[at];
  const begins = isBlank(line) || FENCE.test(line) || HEADING.test(line) || RULE.test(line) || isTable(lines, at);
  const nests = depth < DEPTH && (QUOTE.test(line) || interrupts(ITEM.exec(line)));
  return !begins && !nests && !isBlank(lines[at - 1]);
}

// "born in\n1986. Died in" is one paragraph: only a list that begins with 1, and with words, may interrupt.
function interrupts(mark) {
  return mark !== null && mark[0].length < mark.input.length && (mark[3] === undefined || Number(mark[3]) === 1);
}

function endOf(lines, from, belongs) {
  let end = from;
  while (end < lines.length && belongs(lines[end], end)) end += 1;
  return end;
}

function isBlank(line) {
  return line.trim() === "";
}

function outdented(line, width) {
  return line.slice(Math.min(width, /^ */.exec(line)[0].length));
}

const ESCAPED = /\\([!-/:-@[-`{-~])/y;
const BREAK = /(?:  |\\)\n/y;
const TICKS = /`+/y;
const LABEL = /!?\[((?:[^[\]\\]|\\.)*)\]/y;
const TARGET = /\([ \n]*<?((?:[^\s()<>]|\([^\s()<>]*\))+)>?(?:[ \n]+(?:"[^"]*"|'[^']*'))?[ \n]*\)/y;
const UNFINISHED_TARGET = /\([^\s()]*$/y;
const ADDRESS = /<?(https?:\/\/[^\s<>]*[^\s<>.,:;!?'")\]*_~])>?/y;
const MARK = /\*\*|__|\*|_/y;
const PLAIN = /[^\\`![<h*_ \n]+|[^]/y;

/**
 * The inlines of one block's text. `open` says that more of the text is to come: emphasis, code and links that
 * have begun at its end are then shown as what they are about to be, so that nothing flickers when they close.
 */
export function parseInline(text, open = false) {
  return inlinesOf({ text, open, depth: 0, inLink: false });
}

function inlinesOf(what) {
  const nodes = [];
  const scan = { ...what, at: 0, hopeless: new Set() };
  while (scan.at < scan.text.length) {
    const node = inlineAt(scan);
    if (typeof node === "string" && typeof nodes.at(-1) === "string") nodes.push(nodes.pop() + node);
    else nodes.push(node);
  }
  return nodes;
}

function inlineAt(scan) {
  return match(scan, ESCAPED)?.[1] ?? hardBreak(scan) ?? codeSpan(scan) ?? link(scan) ?? address(scan)
    ?? emphasis(scan) ?? match(scan, PLAIN)[0];
}

function match(scan, pattern) {
  pattern.lastIndex = scan.at;
  const found = pattern.exec(scan.text);
  if (found) scan.at = pattern.lastIndex;
  return found;
}

function hardBreak(scan) {
  return match(scan, BREAK) ? { type: "break" } : null;
}

function codeSpan(scan) {
  const ticks = match(scan, TICKS)?.[0];
  if (!ticks) return null;
  const end = closer(scan, ticks, (run) => run === ticks.length);
  if (end < 0 && !scan.open) return ticks;
  const text = taken(scan, end, ticks).replaceAll("\n", " ");
  return { type: "code", text: /^ .*[^ ].* $/.test(text) ? text.slice(1, -1) : text };
}

function link(scan) {
  const start = scan.at;
  const label = match(scan, LABEL);
  if (!label) return null;
  const words = label[1] || "image";
  const target = match(scan, TARGET);
  if (target) {
    const href = safeAddress(target[1]);
    if (!href) return scan.text.slice(start, scan.at);
    return { type: "link", href, children: inside(scan, words, { inLink: true }) };
  }
  if (scan.open && match(scan, UNFINISHED_TARGET)) return words;
  scan.at = start;
  return null;
}

function address(scan) {
  if (scan.inLink || /\w/.test(scan.text[scan.at - 1] ?? "")) return null;
  const found = match(scan, ADDRESS);
  const href = found && safeAddress(found[1]);
  return href ? { type: "link", href, children: [found[1]] } : found?.[0];
}

// The address, absolute and canonical, or null where it is not one of the web.
function safeAddress(text) {
  const url = URL.parse(text);
  return url && ["http:", "https:"].includes(url.protocol) ? url.href : null;
}

function emphasis(scan) {
  const { text, at: start } = scan;
  const mark = match(scan, MARK)?.[0];
  if (!mark) return null;
  if (scan.open && scan.at === text.length) return ""; // its next letter will tell what it is
  // Underscores within words, as in snake_case, are letters.
  const isOutside = (at) => mark[0] === "*" || !/\w/.test(text[at] ?? "");
  if (scan.depth >= DEPTH || !/\S/.test(text[scan.at] ?? "") || !isOutside(start - 1)) return mark;
  // A run of three closes either kind.
  const end = closer(scan, mark, (run, at) => (run === mark.length || run === 3) && /[^\s\\]/.test(text[at - 1])
    && isOutside(at + run));
  if (end < 0 && !scan.open) return mark;
  const children = inside(scan, taken(scan, end, mark), { open: end < 0 });
  return { type: mark.length > 1 ? "strong" : "em", children };
}

// Where that stands which closes what was opened just before `scan.at`, or -1. A mark that found no closer once is not
// looked for again in the same text.
function closer(scan, mark, closes) {
  for (let at = scan.hopeless.has(mark) ? -1 : scan.text.indexOf(mark, scan.at); at >= 0;) {
    let run = mark.length;
    while (scan.text[at + run] === mark[0]) run += 1;
    if (at > scan.at && closes(run, at)) return at + run - mark.length;
    at = scan.text.indexOf(mark, at + run);
  }
  scan.hopeless.add(mark);
  return -1;
}

function taken(scan, end, mark) {
  const text = scan.text.slice(scan.at, end < 0 ? undefined : end);
  scan.at = end < 0 ? scan.text.length : end + mark.length;
  return text;
}

function inside({ depth, inLink }, text, more) {
  return inlinesOf({ text, open: false, depth: depth + 1, inLink, ...more });
}
