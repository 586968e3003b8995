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
  const root = { blocks: [] }, definitions = new Map(), lines = text.split("\n");
  const stack = [root]; // the blocks that the next line may belong to, each within the one before
  let wasBlank = false;

  function add(rest) {
    let depth = 1;
    for (let inner; depth < stack.length && (inner = enter(stack[depth], rest)) !== undefined; depth += 1) rest = inner;
    if (takes(stack[depth], rest)) return;
    const known = depth;
    for (let inner; (inner = openContainer(depth, rest)) !== undefined; depth = stack.length) rest = inner;
    if (isBlank(rest)) stack.length = depth;
    else addLeaf(depth, rest);
    wasBlank = isBlank(rest) && depth === known && stack.at(-1).type !== "quote";
  }

  // Code and formulas take any line until they are closed, or what was indented no longer is.
  function takes(leaf, rest) {
    if (leaf?.indent === undefined || (!leaf.closing && !isBlank(rest) && indentOf(rest) < 4)) return false;
    const isClosed = leaf.closing?.test(rest);
    if (isClosed) stack.pop();
    if (!isClosed || leaf.type === "math") leaf.text += `${outdent(rest, leaf.indent)}\n`;
    wasBlank = !leaf.closing && isBlank(rest);
    return true;
  }

  function append(block) {
    const { list, blocks } = stack.at(-1);
    if (wasBlank && list && blocks.length) list.isLoose = true;
    blocks.push(Object.assign(block, { from: line, to: line + 1 }));
  }

  function push(depth, block) {
    stack.length = depth;
    append(block);
    stack.push(block);
  }

  function pushClosed(depth, block) {
    push(depth, block);
    stack.pop();
  }

  // Opens a quote, item or note; returns the rest of the line.
  function openContainer(depth, rest) {
    if (depth > MAX_DEPTH) return undefined;
    const quote = QUOTE.exec(rest), item = ITEM.exec(rest), note = NOTE.exec(rest);
    const isInterrupting = stack[depth]?.type === "paragraph";
    if (quote) push(depth, { type: "quote", blocks: [] });
    else if (note && !isInterrupting) {
      definitions.set(`^${labelOf(note[1])}`, "");
      push(depth, { type: "note", label: note[1], need: 2, width: 4, blocks: [] });
    } else if (item && !RULE.test(rest) && (!isInterrupting || canInterrupt(item))) openItem(depth, item);
    else return undefined;
    return rest.slice((quote ?? note ?? item)[0].length);
  }

  function openItem(depth, [{ length }, { length: indent }, sign, digits]) {
    const kind = sign.at(-1);
    stack.length = depth;
    const { blocks } = stack.at(-1);
    if (blocks.at(-1)?.kind === kind) blocks.at(-1).isLoose ||= wasBlank;
    else append({ type: "list", kind, first: digits && Number(digits), isLoose: false, blocks: [] });
    const list = blocks.at(-1), width = Math.max(length, indent + sign.length + 1);
    stack.push(list);
    wasBlank = false;
    // What continues a numbered item is indented by two at least, where CommonMark asks for three: many models do so.
    append({ type: "item", list, need: digits ? indent + 2 : width, width, blocks: [] });
    stack[depth] = list.blocks.at(-1);
  }

  function addLeaf(depth, rest) {
    const last = stack.at(-1), own = stack[depth], isParagraph = own?.type === "paragraph";
    const match = (pattern) => (found = pattern.exec(rest));
    let found;
    if (match(FENCE)) push(depth, fenced(found));
    else if (match(HEADING)) pushClosed(depth, heading(found));
    else if (isParagraph && match(UNDERLINE)) {
      Object.assign(own, { type: "heading", level: found[1][0] === "=" ? 1 : 2 });
      stack.length = depth;
    } else if (match(RULE)) pushClosed(depth, { type: "rule" });
    else if (isParagraph && isTable(own, rest)) beginTable(own, cells(rest).map(alignment));
    else if (last.type === "paragraph") last.text += `\n${rest.trimStart()}`;
    else if (indentOf(rest) >= 4) push(depth, { type: "code", language: "", indent: 4, text: `${outdent(rest, 4)}\n` });
    else if (match(DEFINITION) && safeUrl(decode(found[2]))) define(depth, found);
    else if (own?.type === "table" && rest.includes("|")) append(tableRow(own, rest));
    else addText(depth, rest.trimStart());
  }

  function addText(depth, rest) {
    const { type, blocks } = stack[depth - 1], task = type === "item" && !blocks.length && TASK.exec(rest);
    push(depth, { type: "paragraph", check: task?.[1], text: task ? rest.slice(task[0].length) : rest });
  }

  function define(depth, [all, label, target]) {
    const key = labelOf(label);
    if (!definitions.has(key)) definitions.set(key, safeUrl(decode(target)));
    pushClosed(depth, { type: "definition", label: key, text: all.trim() });
  }

  // The last line of a paragraph becomes the head of a table.
  function beginTable(paragraph, align) {
    const above = paragraph.text.split("\n"), head = above.pop(), table = { type: "table", align, blocks: [] };
    if (above.length) {
      paragraph.text = above.join("\n");
      push(stack.length - 1, table);
      table.from -= 1;
    } else Object.assign(paragraph, table);
    append(tableRow(stack.at(-1), head));
  }

  if (open && HALF.test(lines.at(-1))) lines.pop();
  for (const each of lines) {
    add(each);
    line += 1;
    for (const block of stack) block.to = (block.list ?? block).to = line;
  }
  const last = stack.at(-1);
  if (open && last.type === "paragraph" && /(^|\n)\|.*$/.test(last.text)) {
    beginTable(last, []);
    stack.at(-1).isGuess = true; // the next line decides
  }
  return { blocks: root.blocks, definitions };
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

function tableRow({ align, blocks: [head] }, line) {
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
const AUTOLINK = /<(https?:\/\/[^\s<>]*)>|(?<!\w)(https?:\/\/(?:[.,:;!?'"*_~\]]*(?:\([^\s()<>]*\)|[^\s<>().,:;!?'"*_~\]\u2018-\u201f\u3000-\u303f\uff00-\uff20]))+)/y;
const MARKS = /\*+|_+|~~/y;
const PLAIN_TEXT = /(?:[^\\`![<h*_~$& \n]| (?=[^ \n])|h(?!ttp))+|[^]/y;

// What is not closed yet.
const OPEN_MATH = /(?:\\\(|\\\[|\$\$)[^]*$/y;
const OPEN_LINK = /!?\[((?:[^[\]\\]|\\[^])*)(?:\](?:\([^\s()]*(?:\s+["'][^)]*)?|\[[^\]]*)?)?$/y;
const OPEN_LITERAL = /(?:\\|&#?\w*|<[a-z]*(?:>[^<\s]*<?\/?\w*)?)$/iy;

const PUNCTUATION = /[\p{P}\p{S}]/u;
const BEGINNING = /[\p{Ps}\p{Pi}]/u;
const ENDING = /[\p{Pe}\p{Pf}\p{Po}]/u;

const ENTITIES = new Map("amp& lt< gt> quot\" apos' nbsp\xa0 copy© reg® hellip… ndash– mdash— bull• middot· deg° times× le≤ ge≥ ne≠ larr← rarr→ euro€ pound£"
  .split(" ").map((each) => [each.slice(0, -1), each.at(-1)]));

/**
 * The inlines of a text. `open`: more of it will come, so what is unclosed is shown as closed, and nothing flickers when
 * it closes. `links`: {definitions, used, missing, isOpen}, the known ones, the labels that were asked for, those of them
 * that were not found, and whether more may come.
 */
export function parseInline(text, open, links, inLink = false) {
  const runs = [{ children: [] }]; // one for each run of marks that is not closed: {mark, count, length, canClose, children}
  const unclosed = new Set();
  let pos = 0;

  function consume(pattern) {
    pattern.lastIndex = pos;
    const match = pattern.exec(text);
    if (match) pos = pattern.lastIndex;
    return match;
  }

  const within = (inner) => parseInline(inner, false, links, true);

  function math() {
    const match = consume(MATH) ?? (open && consume(OPEN_MATH));
    return match ? { type: "math", text: match[0] } : null;
  }

  function literal() {
    const match = consume(LITERAL);
    if (match) return meaning(...match);
    return open && consume(OPEN_LITERAL) ? "" : null;
  }

  function hardBreak() {
    return consume(HARD_BREAK) && { type: "break" };
  }

  function codeSpan() {
    const ticks = consume(BACKTICKS)?.[0];
    if (!ticks) return null;
    // What was not found once is not searched for again.
    const match = !unclosed.has(ticks) && consume(new RegExp(`([^]*?[^\`])${ticks}(?!\`)`, "y"));
    if (!match) unclosed.add(ticks);
    if (!match && !open) return ticks;
    const code = (match ? match[1] : text.slice(pos)).replaceAll("\n", " ");
    if (!match) pos = text.length;
    return { type: "code", text: /^ .*[^ ].* $/.test(code) ? code.slice(1, -1) : code };
  }

  function link() {
    const start = pos, half = open && consume(OPEN_LINK);
    if (half) return half[1][0] === "^" ? "" : { type: "span", children: within(half[1]) };
    const [all, inner] = consume(LINK_TEXT) ?? [];
    if (!all) return null;
    const isImage = all[0] === "!", isNote = inner[0] === "^";
    const target = consume(LINK_TARGET), label = target || isNote ? "" : consume(LINK_LABEL)?.[1];
    const href = target ? safeUrl(decode(target[1] ?? target[2]), isImage) : find(labelOf(label || inner));
    if (href && isImage) return inLink ? inner : { type: "image", href, text: inner };
    if (href) return { type: "link", href, children: within(inner || href) };
    if (target) return text.slice(start, pos);
    if (isNote && (href === "" || links.isOpen)) return { type: "reference", label: inner.slice(1) };
    pos = start;
    return null;
  }

  function find(label) {
    const found = links.definitions.get(label);
    if (!open) links.used.add(label);
    if (!open && found === undefined) links.missing.add(label);
    return found;
  }

  function autolink() {
    const match = !inLink && consume(AUTOLINK);
    if (!match) return null;
    const address = match[1] ?? match[2], href = safeUrl(address);
    return href ? { type: "link", href, children: [address] } : match[0];
  }

  function html() {
    const match = consume(HTML);
    return match && { type: match[1], children: within(match[2]) };
  }

  function marks() {
    const start = pos, run = consume(MARKS)?.[0];
    if (!run) return null;
    if (open && pos === text.length) return ""; // the next character decides what it is
    const [mark] = run, before = text[start - 1] ?? " ", after = text[pos] ?? " ";
    const begins = isFlanking(after, before, BEGINNING), ends = isFlanking(before, after, ENDING);
    // Underscores within words, as in snake_case, are plain text.
    const canOpen = begins && (mark !== "_" || !ends || PUNCTUATION.test(before));
    const canClose = ends && (mark !== "_" || !begins || PUNCTUATION.test(after));
    const count = canClose ? closeRuns(run, canOpen) : run.length;
    if (!count || !canOpen) return mark.repeat(count);
    if (runs.length > MAX_DEPTH) flatten(runs[0].children, runs.splice(1, 1)[0]);
    runs.push({ mark, count, length: run.length, canClose, children: [] });
    return "";
  }

  // Closes what the run closes; returns how many of its marks are left.
  function closeRuns(run, canOpen) {
    for (let count = run.length; ; ) {
      const index = runs.findLastIndex(({ mark, length, canClose }) => mark === run[0]
        && (!(canOpen || canClose) || (length + run.length) % 3 || length % 3 === 0));
      if (index < 0 || !count) return count;
      while (runs.length > index + 1) leaveRun(false);
      count -= wrap(runs[index], count);
      if (!runs[index].count) leaveRun(false);
    }
  }

  function leaveRun(isClosed) {
    const opened = runs.pop();
    while (isClosed && !opened.canClose && opened.children.length && opened.count) wrap(opened, 2);
    flatten(runs.at(-1).children, opened);
  }

  while (pos < text.length) {
    const node = math() ?? literal() ?? hardBreak() ?? codeSpan() ?? link() ?? autolink() ?? html() ?? marks()
      ?? consume(PLAIN_TEXT)[0];
    addNode(runs.at(-1).children, node);
  }
  while (runs.length > 1) leaveRun(open);
  return runs[0].children;
}

function addNode(nodes, node) {
  if (typeof node === "string" && typeof nodes.at(-1) === "string") nodes.push(nodes.pop() + node);
  else if (node !== "") nodes.push(node);
}

function flatten(nodes, { mark, count, children }) {
  for (const node of [mark.repeat(count), ...children]) addNode(nodes, node);
}

function wrap(opened, count) {
  const size = Math.min(2, opened.count, count);
  opened.children = [{ type: opened.mark === "~" ? "del" : size > 1 ? "strong" : "em", children: opened.children }];
  opened.count -= size;
  return size;
}

// CommonMark leaves **「so」**so as it is. Here brackets, commas and the like are no reason to.
function isFlanking(inner, outer, friendly) {
  return /\S/.test(inner) && (!PUNCTUATION.test(inner) || friendly.test(inner) || /\s/.test(outer) || PUNCTUATION.test(outer));
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

/** The URL in canonical form, or null if it is not http or https, nor the image itself where that may be. */
export function safeUrl(text, isImage = false) {
  if (isImage && /^data:image\/[\w.+-]+[;,]/i.test(text)) return text;
  const url = URL.parse(text);
  return url && ["http:", "https:"].includes(url.protocol) ? url.href : null;
}
