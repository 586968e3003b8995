// A parser for the common part of Markdown: text → a tree of plain objects. No DOM, never an error.
//
// Blocks: heading {level, text}, paragraph {text}, code {language, text}, rule, quote {blocks}, list {start, items},
// table {align, head, rows}. Inlines: a string, strong and em {children}, code {text}, link {href, children}, break.
//
// HTML stays text. Links lead to http and https only; an image becomes a link to it. No input takes much more than
// linear time. The terms are CommonMark's.

const MAX_DEPTH = 8; // of nested quotes, lists and emphasis; what is deeper stays text

const FENCE = /^( {0,3})(`{3,}|~{3,})([^`]*)$/;
const HEADING = /^ {0,3}(#{1,6})(?=[ \t]|$)(.*)$/;
const RULE = /^ {0,3}(?:(?:\*[ \t]*){3,}|(?:-[ \t]*){3,}|(?:_[ \t]*){3,})$/;
const QUOTE = /^ {0,3}> ?/;
const ITEM = /^( {0,3})([-*+]|(\d{1,9})[.)])(?: +(?=\S)| *$)/;
const DELIMITER_ROW = /^\|?[ \t]*:?-+:?[ \t]*(?:\|[ \t]*:?-+:?[ \t]*)*\|?$/;

/** The blocks of a text. Each has `line`, the index of its first line. */
export function parse(text) {
  return parseLines(text.split("\n"), 0);
}

function parseLines(lines, depth) {
  const blocks = [];
  for (let line = 0; line < lines.length;) {
    if (isBlank(lines[line])) line += 1;
    else {
      const [block, end] = parseBlock(lines, line, depth);
      blocks.push({ ...block, line });
      line = end;
    }
  }
  return blocks;
}

function parseBlock(lines, start, depth) {
  const line = lines[start];
  let match;
  if ((match = FENCE.exec(line))) return fencedCode(lines, start, match);
  if ((match = HEADING.exec(line))) return [heading(match), start + 1];
  if (RULE.test(line)) return [{ type: "rule" }, start + 1];
  if (depth < MAX_DEPTH && QUOTE.test(line)) return quote(lines, start, depth);
  if (depth < MAX_DEPTH && (match = ITEM.exec(line))) return list(lines, start, match, depth);
  if (isTable(lines, start)) return table(lines, start);
  return paragraph(lines, start, depth);
}

function heading([, hashes, text]) {
  return { type: "heading", level: hashes.length, text: text.trim().replace(/(?<=^|[ \t])#+$/, "").trimEnd() };
}

function fencedCode(lines, start, [, indent, fence, info]) {
  const closing = new RegExp(`^ {0,3}${fence[0]}{${fence.length},}[ \\t]*$`);
  const end = findEnd(lines, start + 1, (line) => !closing.test(line));
  const text = lines.slice(start + 1, end).map((line) => outdent(line, indent.length)).join("\n");
  return [{ type: "code", language: info.trim().split(/\s/)[0], text }, end + 1];
}

function quote(lines, start, depth) {
  const end = findEnd(lines, start, (line, index) => QUOTE.test(line)
    || (index > start && isContinuation(lines, index, depth)));
  const content = lines.slice(start, end).map((line) => line.replace(QUOTE, ""));
  return [{ type: "quote", blocks: parseLines(content, depth + 1) }, end];
}

function list(lines, start, first, depth) {
  const kind = first[2].at(-1);
  const items = [];
  for (let item = first; item?.[2].at(-1) === kind && !RULE.test(item.input); item = ITEM.exec(lines[start] ?? "")) {
    // Content is indented by two, also after numbers, where Markdown asks for three: many models do so.
    const indent = item[1].length + 2;
    const end = findEnd(lines, start + 1, (line, index) => isBlank(line) || line.startsWith(" ".repeat(indent))
      || (!ITEM.test(line) && isContinuation(lines, index, depth)));
    const rest = lines.slice(start + 1, end).map((line) => outdent(line, indent));
    items.push(parseLines([lines[start].slice(item[0].length), ...rest], depth + 1));
    start = end;
  }
  return [{ type: "list", start: first[3] === undefined ? null : Number(first[3]), items }, start];
}

function isTable(lines, start) {
  const row = lines[start + 1]?.trim() ?? "";
  return lines[start].includes("|") && DELIMITER_ROW.test(row) && cells(lines[start]).length === cells(row).length;
}

function table(lines, start) {
  const head = cells(lines[start]);
  const end = findEnd(lines, start + 2, (line) => line.includes("|"));
  const rows = lines.slice(start + 2, end).map(cells).map((row) => head.map((_, column) => row[column] ?? ""));
  return [{ type: "table", align: cells(lines[start + 1]).map(alignment), head, rows }, end];
}

function cells(line) {
  const content = line.trim().replace(/^\|/, "").replace(/(?<!\\)\|$/, "");
  return content.split(/(?<!\\)\|/).map((cell) => cell.trim().replaceAll("\\|", "|"));
}

function alignment(cell) {
  if (!cell.endsWith(":")) return null;
  return cell.startsWith(":") ? "center" : "end";
}

function paragraph(lines, start, depth) {
  const end = findEnd(lines, start + 1, (_, index) => isContinuation(lines, index, depth));
  const text = lines.slice(start, end).map((line) => line.trimStart()).join("\n").trimEnd();
  return [{ type: "paragraph", text }, end];
}

// A line that begins no block continues the paragraph above, even one in a quote or an item.
function isContinuation(lines, index, depth) {
  const line = lines[index];
  const begins = isBlank(line) || FENCE.test(line) || HEADING.test(line) || RULE.test(line) || isTable(lines, index);
  const nests = depth < MAX_DEPTH && (QUOTE.test(line) || canInterrupt(ITEM.exec(line)));
  return !begins && !nests && !isBlank(lines[index - 1]);
}

// "born in\n1986. Died in" is one paragraph: only an item that is not empty, and numbered 1 if at all, may interrupt.
function canInterrupt(item) {
  return item !== null && item[0].length < item.input.length && (item[3] === undefined || Number(item[3]) === 1);
}

function findEnd(lines, start, belongs) {
  let end = start;
  while (end < lines.length && belongs(lines[end], end)) end += 1;
  return end;
}

function isBlank(line) {
  return line.trim() === "";
}

function outdent(line, width) {
  return line.slice(Math.min(width, /^ */.exec(line)[0].length));
}

const ESCAPE = /\\([!-/:-@[-`{-~])/y;
const HARD_BREAK = /(?:  |\\)\n/y;
const BACKTICKS = /`+/y;
const LINK_TEXT = /!?\[((?:[^[\]\\]|\\.)*)\]/y;
const LINK_TARGET = /\([ \n]*<?((?:[^\s()<>]|\([^\s()<>]*\))+)>?(?:[ \n]+(?:"[^"]*"|'[^']*'))?[ \n]*\)/y;
const OPEN_LINK_TARGET = /\([^\s()]*$/y;
const AUTOLINK = /<?(https?:\/\/[^\s<>]*[^\s<>.,:;!?'")\]*_~])>?/y;
const EMPHASIS = /\*\*|__|\*|_/y;
const PLAIN_TEXT = /[^\\`![<h*_ \n]+|[^]/y;

// `open`: more text will come, so what is unclosed at the end is shown as closed, and nothing flickers when it closes.
export function parseInline(text, open = false) {
  return parseInlines({ text, open, depth: 0, inLink: false });
}

function parseInlines(options) {
  const nodes = [];
  const scan = { ...options, pos: 0, unclosed: new Set() };
  while (scan.pos < scan.text.length) {
    const node = nextInline(scan);
    if (typeof node === "string" && typeof nodes.at(-1) === "string") nodes.push(nodes.pop() + node);
    else nodes.push(node);
  }
  return nodes;
}

function nextInline(scan) {
  return consume(scan, ESCAPE)?.[1] ?? hardBreak(scan) ?? codeSpan(scan) ?? link(scan) ?? autolink(scan)
    ?? emphasis(scan) ?? consume(scan, PLAIN_TEXT)[0];
}

function consume(scan, pattern) {
  pattern.lastIndex = scan.pos;
  const match = pattern.exec(scan.text);
  if (match) scan.pos = pattern.lastIndex;
  return match;
}

function hardBreak(scan) {
  return consume(scan, HARD_BREAK) ? { type: "break" } : null;
}

function codeSpan(scan) {
  const ticks = consume(scan, BACKTICKS)?.[0];
  if (!ticks) return null;
  const end = findCloser(scan, ticks, (run) => run === ticks.length);
  if (end < 0 && !scan.open) return ticks;
  const text = consumeUntil(scan, end, ticks).replaceAll("\n", " ");
  return { type: "code", text: /^ .*[^ ].* $/.test(text) ? text.slice(1, -1) : text };
}

function link(scan) {
  const start = scan.pos;
  const match = consume(scan, LINK_TEXT);
  if (!match) return null;
  const text = match[1] || "image";
  const target = consume(scan, LINK_TARGET);
  if (target) {
    const href = safeUrl(target[1]);
    if (!href) return scan.text.slice(start, scan.pos);
    return { type: "link", href, children: parseChildren(scan, text, { inLink: true }) };
  }
  if (scan.open && consume(scan, OPEN_LINK_TARGET)) return text;
  scan.pos = start;
  return null;
}

function autolink(scan) {
  if (scan.inLink || /\w/.test(scan.text[scan.pos - 1] ?? "")) return null;
  const match = consume(scan, AUTOLINK);
  const href = match && safeUrl(match[1]);
  return href ? { type: "link", href, children: [match[1]] } : match?.[0];
}

// The URL in canonical form, or null if it is not http or https.
export function safeUrl(text) {
  const url = URL.parse(text);
  return url && ["http:", "https:"].includes(url.protocol) ? url.href : null;
}

function emphasis(scan) {
  const { text, pos: start } = scan;
  const mark = consume(scan, EMPHASIS)?.[0];
  if (!mark) return null;
  if (scan.open && scan.pos === text.length) return ""; // the next character decides what it is
  // Underscores within words, as in snake_case, are plain text.
  const isOutside = (pos) => mark[0] === "*" || !/\w/.test(text[pos] ?? "");
  if (scan.depth >= MAX_DEPTH || !/\S/.test(text[scan.pos] ?? "") || !isOutside(start - 1)) return mark;
  // A run of three closes em and strong.
  const end = findCloser(scan, mark, (run, pos) => (run === mark.length || run === 3) && /[^\s\\]/.test(text[pos - 1])
    && isOutside(pos + run));
  if (end < 0 && !scan.open) return mark;
  const children = parseChildren(scan, consumeUntil(scan, end, mark), { open: end < 0 });
  return { type: mark.length > 1 ? "strong" : "em", children };
}

// Where the delimiter before `scan.pos` is closed, or -1. What was not found once is not searched for again.
function findCloser(scan, mark, isCloser) {
  for (let pos = scan.unclosed.has(mark) ? -1 : scan.text.indexOf(mark, scan.pos); pos >= 0;) {
    let run = mark.length;
    while (scan.text[pos + run] === mark[0]) run += 1;
    if (pos > scan.pos && isCloser(run, pos)) return pos + run - mark.length;
    pos = scan.text.indexOf(mark, pos + run);
  }
  scan.unclosed.add(mark);
  return -1;
}

function consumeUntil(scan, end, mark) {
  const text = scan.text.slice(scan.pos, end < 0 ? undefined : end);
  scan.pos = end < 0 ? scan.text.length : end + mark.length;
  return text;
}

function parseChildren({ depth, inLink }, text, options) {
  return parseInlines({ text, open: false, depth: depth + 1, inLink, ...options });
}
