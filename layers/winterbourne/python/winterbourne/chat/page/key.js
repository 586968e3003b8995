// The key that a server asks for: kept for this tab's session, sent with every request, never shown again.

const NAME = "winterbourne.key";

const [dialog, form, field, reason, cancel, forget] =
  ["key-dialog", "key-form", "key", "key-reason", "key-cancel", "forget"].map((id) => document.getElementById(id));

/** The key, and the way to ask for one. */
export const key = {
  get value() {
    return sessionStorage.getItem(NAME) ?? "";
  },

  /** Ask the person; resolves to whether a key was given. */
  async ask(why) {
    reason.textContent = why;
    dialog.returnValue = "";
    dialog.showModal();
    await new Promise((resolve) => { dialog.addEventListener("close", resolve, { once: true }); });
    return dialog.returnValue === "given";
  },
};

function keep(value) {
  if (value) sessionStorage.setItem(NAME, value);
  else sessionStorage.removeItem(NAME);
  forget.hidden = !value;
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  keep(field.value.trim());
  form.reset();
  dialog.close("given");
});
cancel.addEventListener("click", () => dialog.close());
forget.addEventListener("click", () => keep(""));
keep(key.value);
