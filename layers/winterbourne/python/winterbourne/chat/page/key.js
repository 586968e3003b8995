// The API key: the dialog that prompts for it, and its storage for this tab's session.

const STORAGE_KEY = "winterbourne.key";

const [dialog, form, input, reasonText, cancelButton, forgetButton] =
  ["key-dialog", "key-form", "key", "key-reason", "key-cancel", "forget"].map((id) => document.getElementById(id));

export const apiKey = {
  get value() {
    return sessionStorage.getItem(STORAGE_KEY) ?? "";
  },

  /** Show the dialog; resolves to whether a key was entered. */
  async prompt(reason) {
    reasonText.textContent = reason;
    dialog.returnValue = "";
    dialog.showModal();
    await new Promise((resolve) => { dialog.addEventListener("close", resolve, { once: true }); });
    return dialog.returnValue === "entered";
  },
};

function store(value) {
  if (value) sessionStorage.setItem(STORAGE_KEY, value);
  else sessionStorage.removeItem(STORAGE_KEY);
  forgetButton.hidden = !value;
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  store(input.value.trim());
  form.reset();
  dialog.close("entered");
});
cancelButton.addEventListener("click", () => dialog.close());
forgetButton.addEventListener("click", () => store(""));
store(apiKey.value);
