// The composer: what a question is written in, sent from, and given back to.

import { el } from "./dom.js";

const [form, input, notice, sendButton, stopButton] =
  ["composer", "question", "notice", "send", "stop"].map((id) => document.getElementById(id));

let returnedId = null; // of a question that was given back: sent again, it replaces what was kept of it

export const composer = {
  /** Called with the message that is to be sent, {role, id, content}; returns whether it is. */
  onSubmit() {},

  /** Called when the answer is to be stopped. */
  onStop() {},

  /** Give a message back that was refused, with the reason; what is written already stays after it. */
  restore(message, reason) {
    if (returnedId !== message.id) setInput([textOf(message), input.value].filter(Boolean).join("\n\n"));
    returnedId = message.id;
    composer.say(reason);
  },

  /** What is written: its text, and the id of the question that it is to replace. */
  get draft() {
    return { id: returnedId, text: input.value };
  },

  set draft({ id = null, text }) {
    returnedId = id;
    setInput(text);
  },

  /** Send this text, unless something runs. */
  ask(text) {
    setInput(text);
    submit();
  },

  /** Show a text, or a node with it, beside the composer, or none. */
  say(text) {
    notice.replaceChildren(text);
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

/** A message as a question is shown. */
export function questionNode(message) {
  return el("h2", { class: "question" }, textOf(message));
}

export function randomId(prefix) {
  return prefix + Array.from(crypto.getRandomValues(new Uint32Array(4)), (part) => part.toString(36)).join("");
}

function submit(event) {
  event?.preventDefault();
  const text = input.value.trim();
  if (!text) return;
  const message = { role: "user", id: returnedId ?? randomId("u_"), content: [{ type: "text", text }] };
  if (!composer.onSubmit(message)) return;
  returnedId = null;
  setInput("");
}

function setInput(text) {
  input.value = text;
  resizeInput();
}

function resizeInput() {
  input.style.height = "auto";
  input.style.height = `${input.scrollHeight}px`;
}

form.addEventListener("submit", submit);
input.addEventListener("input", resizeInput);
input.addEventListener("keydown", (event) => {
  // While an input method composes text, as for Japanese, Enter accepts that text.
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) submit(event);
});
stopButton.addEventListener("click", () => composer.onStop());
