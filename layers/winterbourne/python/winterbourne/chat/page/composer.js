// The composer: what a question is written in with its files, sent from, edited in, and given back to.

import { chip, divide, filePart, isLong, pastedPart, unite } from "./attachments.js";
import { config } from "./config.js";
import { el } from "./dom.js";
import { t } from "./strings.js";

const MODEL_KEY = "winterbourne.model";

const [form, input, notice, sendButton, stopButton, attached, attachButton, fileInput, modelSelect, editNote, cancelButton] =
  ["composer", "question", "notice", "send", "stop", "attached", "attach", "files", "model", "editing", "cancel-edit"]
    .map((id) => document.getElementById(id));

let parts = []; // files and pasted texts, as they will be sent
let sentId = null; // of a question that was given back or is edited: sent again, it replaces what was kept of it
let setAside = null; // what was being written when the editing of an earlier question began
let reading = Promise.resolve(); // until the files that were added are parts

export const composer = {
  /**
   * Called with the message that is to be sent, {role, id, content}, and with {isEdit}: whether it is to replace an
   * earlier one and what follows that. Returns whether it is sent.
   */
  onSubmit() {},

  /** Called when the answer is to be stopped. */
  onStop() {},

  /** Called when `draft` may have changed. */
  onDraft() {},

  /** What is written and not sent yet, as a text to be kept and given back; files are not in it. Empty if nothing is. */
  get draft() {
    const texts = (setAside?.content ?? content()).filter(({ type }) => type === "text");
    return texts.length ? JSON.stringify(texts) : "";
  },

  /** Begin from this draft, with the files that are there already. */
  set draft(kept) {
    const files = (setAside?.content ?? content()).filter(({ type }) => type !== "text");
    take({ content: [...files, ...kept ? JSON.parse(kept) : []] });
  },

  /** The chosen model, if there is a choice. */
  get model() {
    return modelSelect.value || undefined;
  },

  /** Give a message back that was refused, with the reason; what is written already stays after it. */
  restore(message, reason) {
    take({ id: message.id, content: [...message.content, ...content(), ...setAside?.content ?? []] });
    composer.say(reason);
  },

  /** Edit an earlier question; what is being written is set aside until that is over. */
  edit(message) {
    take(message, setAside ?? { id: sentId, content: content() });
    input.focus();
  },

  /** Send this text, unless something runs. */
  ask(text) {
    setInput(text);
    submit();
  },

  /** Show a text beside the composer, or none. */
  say(text) {
    notice.textContent = text;
  },

  setRunning(isRunning) {
    sendButton.hidden = isRunning;
    stopButton.hidden = !isRunning;
  },

  focus() {
    input.focus();
  },
};

/** The text of a message's content; of what is not text, its name. */
export function textOf({ content }) {
  return content.map(({ text, type, name }) => text ?? `[${name || type}]`).join("\n");
}

export function randomId(prefix) {
  return prefix + Array.from(crypto.getRandomValues(new Uint32Array(4)), (part) => part.toString(36)).join("");
}

function content() {
  return unite(input.value.trim(), parts);
}

function take({ id = null, content = [] }, aside = null) {
  [sentId, setAside] = [id, aside];
  const [words, others] = divide(content);
  editNote.hidden = !aside;
  input.ariaDescription = aside && t("composer.editing");
  setParts(others);
  setInput(words);
}

function endEdit() {
  take(setAside ?? {});
  input.focus();
}

async function submit(event) {
  event?.preventDefault();
  await reading;
  const message = { role: "user", id: sentId ?? randomId("u_"), content: content() };
  if (message.content.length && composer.onSubmit(message, { isEdit: setAside !== null })) take(setAside ?? {});
}

function setParts(others) {
  parts = others;
  attached.replaceChildren(...parts.map((part) => {
    const onRemove = () => setParts(parts.filter((each) => each !== part)) ?? input.focus();
    const onInsert = () => {
      onRemove();
      setInput((input.value + part.text).trim());
    };
    return chip(part, { onRemove, onInsert });
  }));
  composer.onDraft();
}

function addFiles(files) {
  const added = [...files]; // the list of an input or a drop does not last
  reading = reading.then(() => attempt(added.map((file) => () => filePart(file, parts))));
}

async function attempt(makers) {
  const reasons = [];
  for (const make of makers) {
    await make().then((part) => setParts([...parts, part]), ({ message }) => reasons.push(message));
  }
  composer.say(reasons.join("\n"));
}

// A copied table comes as a picture, too, and a copied file with its name.
function paste(event) {
  if (event.target !== input && event.target.closest("input, textarea, dialog")) return;
  const { files } = event.clipboardData;
  const [text, html] = ["text/plain", "text/html"].map((type) => event.clipboardData.getData(type));
  if (files.length && !(text && html)) addFiles(files);
  else if (isLong(text)) attempt([() => pastedPart(text, parts)]);
  else return;
  event.preventDefault();
}

function drag(event) {
  if (!event.dataTransfer.types.includes("Files")) return;
  event.preventDefault();
  form.classList.toggle("is-target", event.type === "dragover");
  if (event.type === "drop") addFiles(event.dataTransfer.files);
}

function setInput(text) {
  input.value = text;
  noteInput();
}

function noteInput() {
  input.style.height = "auto";
  input.style.height = `${input.scrollHeight}px`;
  composer.onDraft();
}

form.addEventListener("submit", submit);
input.addEventListener("input", noteInput);
input.addEventListener("keydown", (event) => {
  // While an input method composes text, as for Japanese, Enter accepts that text.
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) submit(event);
  if (event.key === "Escape" && setAside) endEdit();
});
stopButton.addEventListener("click", () => composer.onStop());
cancelButton.addEventListener("click", endEdit);
attachButton.addEventListener("click", () => fileInput.click());
fileInput.addEventListener("change", () => {
  addFiles(fileInput.files);
  fileInput.value = ""; // so that the same one can be chosen again
});
document.addEventListener("paste", paste);
for (const name of ["dragover", "dragleave", "drop"]) document.addEventListener(name, drag);

modelSelect.append(...config.models.map((model) => el("option", {}, model)));
modelSelect.value = localStorage.getItem(MODEL_KEY);
if (!modelSelect.value) modelSelect.selectedIndex = 0;
modelSelect.hidden = !config.models.length;
modelSelect.addEventListener("change", () => localStorage.setItem(MODEL_KEY, modelSelect.value));
