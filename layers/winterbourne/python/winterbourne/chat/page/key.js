// The API key: the dialog that asks for it, and its storage for this tab's session.

import { tabStorage } from "./config.js";
import { conversationList } from "./conversation_list.js";
import { credentials, forgetButton } from "./credentials.js";
import { button, el, on } from "./dom.js";
import { t } from "./strings.js";

const KEY_STORAGE = "winterbourne.key";
const key = () => tabStorage.getItem(KEY_STORAGE) ?? "";

const title = el("h2", { id: "key-title" }, t("key.title"));
const reason = el("p");
const keyLabel = el("label", { for: "key" }, t("key.label"));
const keyInput = el("input", { id: "key", type: "password", autocomplete: "off", spellcheck: "false", required: "" });
const actions = el("div", { class: "dialog-actions" },
  button(t("key.notNow"), () => dialog.close()), el("button", { class: "strong" }, t("key.use")));
const keyForm = el("form", {}, title, reason, keyLabel, keyInput, el("p", {}, t("key.kept")), actions);
const dialog = el("dialog", { class: "box", "aria-labelledby": title.id }, keyForm);

/** Show the dialog; resolves to whether a key was entered. */
async function askForKey() {
  reason.textContent = key() && t("key.unknown");
  dialog.returnValue = "";
  dialog.showModal();
  await new Promise((resolve) => { on(dialog, "close", resolve, { once: true }); });
  return dialog.returnValue === "entered";
}

function keepKey(value) {
  tabStorage.setItem(KEY_STORAGE, value);
  forgetButton.hidden = !value;
}

on(keyForm, "submit", (event) => {
  event.preventDefault();
  keepKey(keyInput.value.trim());
  keyForm.reset();
  dialog.close("entered");
});
document.body.append(dialog);
forgetButton.textContent = t("key.forget");
on(forgetButton, "click", async () => {
  await conversationList.offerDeletion();
  tabStorage.clear();
  keepKey("");
});
keepKey(key());
Object.assign(credentials, {
  headers: async () => key() ? { "x-api-key": key() } : {},
  renew: askForKey,
  change: askForKey,
  changeLabel: t("key.change"),
  refusal: t("key.refused"),
});
