// The key that the server asks for: kept for this tab's session, sent with every request, never shown again.

const NAME = "winterbourne.key";

const [dialog, form, field, reason, forget] = ["key-dialog", "key-form", "key", "key-reason", "forget"]
  .map((id) => document.getElementById(id));

/** The key, and the way to ask for one. */
export const key = {
  get value() {
    return sessionStorage.getItem(NAME) ?? "";
  },

  get isAsking() {
    return dialog.open;
  },

  /** Ask the person for a key; resolves to whether one was given. */
  async ask(why) {
    reason.textContent = why;
    field.value = "";
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
  if (!field.value.trim()) return;
  keep(field.value.trim());
  field.value = "";
  dialog.close("given");
});
document.getElementById("key-cancel").addEventListener("click", () => dialog.close(""));
forget.addEventListener("click", () => keep(""));
keep(key.value);
