// What is sent with a question's words: pictures, documents and pasted texts, each a part of the message and a chip.

import { config } from "./config.js";
import { button, el, icon } from "./dom.js";
import { formatSize, t } from "./strings.js";

// In pixels: models see a smaller copy of what is longer.
const LONG_SIDE = 1568;
const KEPT_BYTES = 1e6;
// Begins a pasted text, because some models read all texts of a message as one.
const PASTED = "\n\n";

const isPasted = ({ text }) => text?.startsWith(PASTED);
const isWritten = (part) => part.type === "text" && !isPasted(part);
const sizeOf = ({ data, text = "" }) => data ? data.length * .75 : new Blob([text]).size;

/** Whether a pasted text is better not put among what is written. */
export const isLong = (text) => text.length > 2000 || text.split("\n", 21).length > 20;

/** The words of a message's content, and its other parts. */
export function divide(content) {
  return [content.filter(isWritten).map(({ text }) => text).join("\n\n"), content.filter((part) => !isWritten(part))];
}

/** A message's content. Models read files better before words, and people give texts after the words on them. */
export function unite(words, parts) {
  const written = words ? [{ type: "text", text: words }] : [];
  return [...parts.filter((part) => !isPasted(part)), ...written, ...parts.filter(isPasted)];
}

/** A pasted text as a part. Throws an error in the reader's words if it cannot be sent with the others. */
export async function pastedPart(text, others) {
  return checked({ type: "text", text: PASTED + text }, others);
}

/** A file as a part, a large picture smaller. Throws an error in the reader's words if it cannot be sent. */
export async function filePart(file, others) {
  const { name, size } = file;
  const isPicture = /^image\/(?!svg)/.test(file.type);
  if (isPicture && !config.takes.images) refuse("noPictures");
  if (!isPicture && size > config.limits.body) refuse("large", { name, size: formatSize(config.limits.body) });
  const opened = await (isPicture ? createImageBitmap(file) : file.arrayBuffer()).catch(() => {});
  if (!opened || !size) refuse("unread", { name });
  const url = isPicture && redrawn(file, opened) || await dataUrl(file);
  const media_type = isPicture ? url.slice(5, url.indexOf(";")) : documentType(file, opened);
  return checked({ type: isPicture ? "image" : "document", name, media_type, data: url.split(",")[1] }, others);
}

function refuse(reason, values) {
  throw new Error(t(`files.${reason}`, values));
}

function checked(part, others) {
  const { body, chars, ...most } = config.limits;
  const all = [...others, part];
  const sum = (measure) => all.reduce((total, each) => total + measure(each), 0);
  const checkSize = (size, bytes) => size > bytes && refuse("large", { name: nameOf(part), size: formatSize(bytes) });
  if (all.filter(({ type }) => type === part.type).length > most[`${part.type}s`]) refuse("number", most);
  if (sum(({ text = "" }) => text.length) > chars) refuse("long", { chars });
  // Base64 adds a third, and a request has more than its files.
  checkSize(sum(sizeOf), body * .74);
  if (/^app/.test(part.media_type)) checkSize(sizeOf(part), config.takes.documentBytes || body);
  return part;
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
function documentType({ name, type }, bytes) {
  const isText = type.startsWith("text/");
  if (!isText && config.takes.documents.includes(type)) return type;
  try {
    if (new TextDecoder("utf-8", { fatal: true }).decode(bytes).includes("\0")) refuse();
  } catch {
    refuse("kind", { name });
  }
  return isText ? type : "text/plain";
}

function dataUrl(file) {
  return new Promise((resolve) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result);
    reader.readAsDataURL(file);
  });
}

/** The name of a part; a pasted text's is how it begins. */
export function nameOf({ type, name, text }) {
  return text?.trim().split("\n", 1)[0].slice(0, 80) ?? (name || t(`files.${type}`));
}

/** A part as a chip, which opens if it is a picture or a pasted text; `onRemove` takes a text that is to be written instead. */
export function chip(part, onRemove) {
  const { type, media_type = "", name = "", text } = part;
  const label = nameOf(part);
  const kind = /\.(\w{1,5})$/.exec(type === "document" && name)?.[1] ?? /^text|[^/]*$/.exec(media_type)[0];
  const size = sizeOf(part);
  const details = [text ? t("files.pasted") : kind.toUpperCase(), size && formatSize(size)].filter(Boolean).join(" · ");
  const image = picture(part);
  const face = el(image || text ? "button" : "div", { class: "file-face", type: "button" },
    image ?? icon("file"), el("span", {}, el("b", {}, label), el("small", {}, details)));
  if (image || text) face.addEventListener("click", () => open(part, onRemove));
  return el("li", { class: "file" }, face,
    onRemove && button("", () => onRemove(), { icon: "failed", title: t("files.remove", { name: label }) }));
}

function picture({ type, media_type, data }) {
  return type === "image" && data ? el("img", { src: `data:${media_type};base64,${data}`, alt: "" }) : null;
}

function open(part, onRemove) {
  const { text } = part;
  const dialog = el("dialog", { class: "box reader", "aria-label": nameOf(part) },
    el("form", { class: "drawer-head", method: "dialog" },
      el("button", { class: "quiet" }, t("list.close")),
      text && onRemove && el("button", { class: "quiet", value: text }, t("files.insert"))),
    picture(part) ?? el("pre", {}, text.trim()));
  dialog.addEventListener("close", () => {
    dialog.remove();
    if (dialog.returnValue) onRemove(text);
  });
  document.body.append(dialog);
  dialog.showModal();
}
