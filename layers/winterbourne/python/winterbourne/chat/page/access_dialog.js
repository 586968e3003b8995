// The dialog for readers who have to show who they are, with a key or by signing in; and the button that ends that.

import { button, el } from "./dom.js";
import { t } from "./strings.js";

export const forgetButton = el("button", { type: "button", class: "quiet", id: "forget" });
document.querySelector("#conversations > div").append(forgetButton);

let shown;

/** Show it, with the strings of that section; resolves to whether it was accepted. Who asks meanwhile hears the same. */
export function askForAccess(section, reason, accept, fields = []) {
  return shown ??= show(section, reason, accept, fields).finally(() => { shown = null; });
}

async function show(section, reason, accept, fields) {
  const dialog = el("dialog", { class: "box", "aria-labelledby": "access-title" }, el("form", { method: "dialog" },
    el("h2", { id: "access-title" }, t(`${section}.title`)),
    el("p", {}, reason),
    ...fields,
    el("div", { class: "dialog-actions" },
      button(t("access.notNow"), () => dialog.close()),
      el("button", { class: "strong", value: "accepted", autofocus: fields.length ? null : "" }, t(`${section}.accept`)))));
  document.body.append(dialog);
  dialog.showModal();
  await new Promise((resolve) => { dialog.addEventListener("close", resolve); });
  dialog.remove();
  if (!dialog.returnValue) return false;
  accept();
  return true;
}
