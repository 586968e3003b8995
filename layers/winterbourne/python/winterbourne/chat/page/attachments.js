// What is sent with a question's words: pictures, documents and pasted texts, each a part of the message and a chip.

import { config } from "./config.js";
import { button, el, icon, on } from "./dom.js";
import { formatSize, t } from "./strings.js";

// In pixels: models see a smaller copy of what is longer.
const LONG_SIDE = 1568;
const KEPT_BYTES = 1e6;
// Begins a pasted text, because some models read all texts of a message as one.
const PASTED = "\n\n";

const isWritten = ({ type, text }) => type === "text" && !text.startsWith(PASTED);
const sizeOf = ({ data, text = "" }) => data ? data.length * .75 : new Blob([text]).size;

/** Whether a pasted text is better not put among what is written. */
export const isLong = (text) => text.length > 2000 || text.split("\n", 21).length > 20;

/** The words of a message's content, and its other parts. */
export function divide(content) {
  return [content.filter(isWritten).map(({ text }) => text).join("\n\n"), content.filter((part) => !isWritten(part))];
}

/** A message's content. Models read files better before words, and people give texts after the words on them. */
export function unite(text, parts) {
  const written = text ? [{ type: "text", text }] : [];
  return [...parts.filter(({ text }) => !text), ...written, ...parts.filter(({ text }) => text)];
}

/** A file or a pasted text as a part. Throws an error in the reader's words if it cannot be sent with the others. */
export async function toPart(source, others) {
  const part = source.name === undefined ? { type: "text", text: PASTED + source } : await readFile(source);
  const { body, chars, ...most } = config.limits;
  const all = [...others, part];
  const check = (limit, measure) => checkSize(nameOf(part), all.reduce((sum, each) => sum + measure(each), 0), limit);
  const kind = `${part.type}s`;
  if (all.filter(({ type }) => type === part.type).length > most[kind]) refuse(kind, { count: most[kind] });
  check(chars, ({ text = "" }) => text.length);
  // Base64 adds a third, and a request has more than its files.
  check(body * .74, sizeOf);
  return part;
}

async function readFile(file) {
  const { name, size, type } = file;
  const isPicture = /^image\/(?!svg)/.test(type);
  const { images, documents, documentBytes } = config.takes;
  const isBinary = !/^text/.test(type) && documents.includes(type);
  if (isPicture && !images) refuse("kind", { name });
  if (!isPicture) checkSize(name, size, isBinary && documentBytes || config.limits.body);
  const opened = await (isPicture ? createImageBitmap(file) : file.arrayBuffer()).catch(() => {});
  if (!opened || !size) refuse("unread", { name });
  if (!isPicture && !isBinary && !isReadable(opened)) refuse("kind", { name });
  const url = isPicture && redrawn(file, opened) || await dataUrl(file);
  const [, found, data] = /^data:(.*);base64,(.*)/.exec(url);
  const media_type = isPicture || isBinary || /^text/.test(type) ? found : "text/plain";
  return { type: isPicture ? "image" : "document", name, media_type, data };
}

function refuse(reason, values) {
  throw new Error(t(`files.${reason}`, values));
}

function checkSize(name, size, most) {
  if (size > most) refuse("large", { name, size: formatSize(most) });
}

// A photo drawn anew stands as its camera was held, and no longer says where it was taken.
function redrawn({ type, size }, bitmap) {
  const scale = Math.min(1, LONG_SIDE / Math.max(bitmap.width, bitmap.height));
  const isDrawing = /png|gif|webp/.test(type);
  if (isDrawing && scale === 1 && size < KEPT_BYTES) return "";
  const [width, height] = [bitmap.width, bitmap.height].map((side) => Math.ceil(side * scale));
  const canvas = el("canvas", { width, height });
  const context = canvas.getContext("2d");
  context.imageSmoothingQuality = "high";
  context.drawImage(bitmap, 0, 0, width, height);
  const png = isDrawing ? canvas.toDataURL() : "";
  if (png && png.length < KEPT_BYTES) return png;
  // A JPEG is white where this is transparent, not black.
  context.globalCompositeOperation = "destination-over";
  context.fillStyle = "#fff";
  context.fillRect(0, 0, width, height);
  return canvas.toDataURL("image/jpeg", .9);
}

// Browsers know the types of few texts.
function isReadable(bytes) {
  try {
    return !new TextDecoder("utf-8", { fatal: true }).decode(bytes).includes("\0");
  } catch {
    return false;
  }
}

function dataUrl(file) {
  return new Promise((resolve) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result);
    reader.readAsDataURL(file);
  });
}

/** A part as a chip, which opens if it is a picture or a pasted text. */
export function chip(part, onRemove) {
  const { type, media_type = "", data, text } = part;
  const name = nameOf(part);
  const kind = type === "document" && /\.(\w+)$/.exec(name)?.[1] || media_type.replace(/^text.*|.*\//, "");
  const details = [text ? t("files.pasted") : kind.toUpperCase() || t(`files.${type}`), data || text ? formatSize(sizeOf(part)) : ""];
  const view = text ? () => el("pre", {}, text.trim()) : type === "image" && data ? () => pictureNode(part) : null;
  const face = el(view ? "button" : "div", { class: "file-face", type: "button" }, data && view ? view() : icon("file"),
    el("span", {}, el("b", {}, name), el("small", {}, details.filter(Boolean).join(" · "))));
  if (view) on(face, "click", () => openReader(name, view()));
  return el("li", { class: "file" }, face,
    onRemove && button("", onRemove, { icon: "failed", title: t("files.remove", { name }) }));
}

// The name of a part; a pasted text's is how it begins.
function nameOf({ type, name, text }) {
  return text?.trim().split("\n", 1)[0].slice(0, 80) ?? (name || t(`files.${type}`));
}

function pictureNode({ media_type, data }) {
  return el("img", { src: `data:${media_type};base64,${data}`, alt: "" });
}

function openReader(name, view) {
  const dialog = el("dialog", { class: "box reader", "aria-label": name },
    el("form", { method: "dialog" }, el("button", { class: "strong" }, t("list.close"))), view);
  on(dialog, "close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
}
