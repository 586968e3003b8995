// The API key: prompts for it, and keeps it for this tab's session.

import { askForAccess, forgetButton } from "./access_dialog.js";
import { credentials } from "./credentials.js";
import { el } from "./dom.js";
import { t } from "./strings.js";

const STORAGE_KEY = "winterbourne.key";
const key = () => sessionStorage.getItem(STORAGE_KEY) ?? "";

function keep(value) {
  sessionStorage.setItem(STORAGE_KEY, value);
  forgetButton.hidden = !value;
}

function prompt() {
  const input = el("input", { id: "key", type: "password", autocomplete: "off", spellcheck: "false", required: "" });
  const fields = [el("label", { for: "key" }, t("key.label")), input, el("p", {}, t("key.kept"))];
  return askForAccess("key", key() && t("key.unknown"), () => keep(input.value.trim()), fields);
}

Object.assign(credentials, {
  headers: async () => key() ? { "x-api-key": key() } : {},
  renew: prompt,
  changeLabel: t("key.change"),
  refusal: t("key.refused"),
});
forgetButton.append(t("key.forget"));
forgetButton.addEventListener("click", () => keep(""));
keep(key());
