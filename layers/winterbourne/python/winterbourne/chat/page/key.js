// The API key: the dialog that asks for it, and its storage for this tab's session.

import { credentials, forgetButton } from "./credentials.js";
import { button, el } from "./dom.js";
import { t } from "./strings.js";

const STORAGE_KEY = "winterbourne.key";
const key = () => sessionStorage.getItem(STORAGE_KEY) ?? "";

const title = el("h2", { id: "key-title" }, t("key.title"));
const reason = el("p");
const label = el("label", { for: "key" }, t("key.label"));
const input = el("input", { id: "key", type: "password", autocomplete: "off", spellcheck: "false", required: "" });
const actions = el("div", { class: "dialog-actions" },
  button(t("key.notNow"), () => dialog.close()), el("button", { class: "strong" }, t("key.use")));
const form = el("form", {}, title, reason, label, input, el("p", {}, t("key.kept")), actions);
const dialog = el("dialog", { class: "box", "aria-labelledby": title.id }, form);

/** Show the dialog; resolves to whether a key was entered. */
async function askForKey() {
  reason.textContent = key() && t("key.unknown");
  dialog.returnValue = "";
  dialog.showModal();
  await new Promise((resolve) => { dialog.addEventListener("close", resolve, { once: true }); });
  return dialog.returnValue === "entered";
}

function keep(value) {
  sessionStorage.setItem(STORAGE_KEY, value);
  forgetButton.hidden = !value;
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  keep(input.value.trim());
  form.reset();
  dialog.close("entered");
});
document.body.append(dialog);
forgetButton.textContent = t("key.forget");
forgetButton.addEventListener("click", () => keep(""));
keep(key());
Object.assign(credentials, {
  headers: async () => key() ? { "x-api-key": key() } : {},
  renew: askForKey,
  change: askForKey,
  changeLabel: t("key.change"),
  refusal: t("key.refused"),
});
