// The composer: what a question is written in with its files, sent from, edited in, and given back to.

import { chip, divide, isLong, toPart, unite } from "./attachments.js";
import { browserStorage, config } from "./config.js";
import { byId, el, on } from "./dom.js";
import { t } from "./strings.js";

const MODEL_KEY = "winterbourne.model";

const [form, notice, chips, editNote] = ["composer", "notice", "attached", "editing"].map(byId);
const { question: input, send, stop: stopButton, attach, files: fileInput, model: modelSelect, leave: leaveButton } = form.elements;

// Files and pasted texts, as they will be sent.
let parts = [];
// Of a question that was given back or is edited: sent again, it replaces what was kept of it.
let sentId = null;
// What was being written when the editing of an earlier question began.
let setAside = null;
// Resolves when the files that were added are parts, unless something else is written by then.
let reading = Promise.resolve();
let edition = 0; // another one whenever something else is written: another conversation's draft, an edit

export const composer = {
  /** Called with the message that is to be sent, {role, id, content}; returns whether it is. An edited one has its id. */
  onSubmit() {},

  /** Called when the answer is to be stopped. */
  onStop() {},

  /** The chosen model, if there is a choice. */
  get model() {
    return modelSelect.value;
  },

  /**
   * What is written and not sent: {id, content, aside}, with the id of the question that it is to replace, or null; `aside`
   * is such a one, which comes back when the editing of an earlier question is over, or null.
   */
  get draft() {
    return { id: sentId, content: current(), aside: setAside };
  },

  set draft(draft) {
    edition += 1;
    take(draft, draft.aside);
  },

  /** Give a message back that was refused, with the reason; what is written already stays after it, or aside of an edit. */
  restore({ id, content }, reason, isEdit) {
    const given = { id, content: [...content, ...written().content] };
    if (setAside) setAside = isEdit ? { ...given, id: setAside.id } : given;
    else if (isEdit) take({ id, content }, written());
    else if (sentId !== id) take(given);
    composer.say(reason);
  },

  /** Edit an earlier question; what is being written is set aside until that is over. */
  edit(message) {
    edition += 1;
    take(message, written());
    input.focus();
  },

  /** Send this text, unless something runs; what is written stays. */
  ask(text) {
    composer.onSubmit({ role: "user", id: randomId("u_"), content: [{ type: "text", text }] });
  },

  /** Show a text, or a node with it, beside the composer, or none. */
  say(text) {
    notice.replaceChildren(text);
  },

  setRunning(isRunning) {
    // Touched, it would bring the keyboard up.
    const focus = matchMedia("(hover: hover)").matches ? ":focus" : ":focus-visible";
    const wasFocused = (isRunning ? send : stopButton).matches(focus);
    send.hidden = isRunning;
    stopButton.hidden = !isRunning;
    if (wasFocused) input.focus();
  },

  focus() {
    input.focus();
  },
};

export function randomId(prefix) {
  return prefix + Array.from(crypto.getRandomValues(new Uint32Array(4)), (part) => part.toString(36)).join("");
}

const current = () => unite(input.value.trim(), parts);
const written = () => setAside ?? { id: sentId, content: current() };

function take({ id = null, content = [] }, aside = null) {
  [sentId, setAside] = [id, aside];
  const [words, others] = divide(content);
  editNote.hidden = !aside;
  input.ariaDescription = aside && t("composer.editing");
  setParts(others);
  setInput(words);
}

function endEdit() {
  edition += 1;
  take(setAside ?? {});
  input.focus();
}

async function submit(event) {
  event.preventDefault();
  const before = edition;
  await reading;
  if (edition !== before) return; // what was written is not here any more
  const message = { role: "user", id: sentId ?? randomId("u_"), content: current() };
  if (message.content.length && composer.onSubmit(message)) take(setAside ?? {});
}

function setInput(text) {
  input.value = text;
  input.dispatchEvent(new Event("input", { bubbles: true }));
}

function handleInput({ isTrusted }) {
  if (isTrusted && !setAside && !input.value && !parts.length) sentId = null; // what is written now is another question
  resizeInput();
}

function resizeInput() {
  input.style.height = "auto";
  input.style.height = `${input.scrollHeight}px`;
}

function setParts(others) {
  parts = others;
  chips.replaceChildren(...parts.map((part) => chip(part, () => {
    setParts(parts.filter((each) => each !== part));
    input.focus();
  })));
  setInput(input.value);
}

// Files or texts, one after the other.
function add(sources) {
  const before = edition;
  reading = reading.then(async () => {
    const reasons = [];
    for (const source of sources) {
      const given = await toPart(source, parts).catch(({ message }) => void reasons.push(message));
      if (edition !== before) return;
      if (given) setParts([...parts, given]);
    }
    composer.say(reasons.join("\n"));
  });
}

// A copied table comes as a picture, too, and a copied file with its name.
function paste(event) {
  const { target, clipboardData } = event;
  if (target !== input && target.closest("input, textarea, dialog")) return;
  const { files } = clipboardData;
  const [text, html] = ["text/plain", "text/html"].map((type) => clipboardData.getData(type));
  if (files.length && !(text && html)) add([...files]);
  else if (isLong(text)) add([text]);
  else return;
  event.preventDefault();
}

function drag(event) {
  const { dataTransfer, type } = event;
  if (!dataTransfer.types.includes("Files")) return;
  event.preventDefault();
  form.classList.toggle("is-target", type === "dragover");
  if (type === "drop") add([...dataTransfer.files]);
}

on(form, "submit", submit);
on(input, "input", handleInput);
addEventListener("resize", resizeInput); // also a phone that is turned
on(input, "keydown", (event) => {
  // While an input method composes text, as for Japanese, Enter accepts that text.
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) submit(event);
  // Elsewhere it stops the answer.
  if (event.key === "Escape" && setAside && !event.isComposing) endEdit(event.stopPropagation());
});
on(stopButton, "click", () => composer.onStop());
on(leaveButton, "click", endEdit);
on(attach, "click", () => fileInput.click());
on(fileInput, "change", () => {
  add([...fileInput.files]);
  // So that the same one can be chosen again.
  fileInput.value = "";
});
on(document, "paste", paste);
for (const name of ["dragover", "dragleave", "drop"]) on(document, name, drag);

modelSelect.append(...config.models.map((model) => (
  el("option", { selected: model === browserStorage[MODEL_KEY] ? "" : null }, model)
)));
modelSelect.hidden = !config.models.length;
on(modelSelect, "change", () => { browserStorage[MODEL_KEY] = modelSelect.value; });
