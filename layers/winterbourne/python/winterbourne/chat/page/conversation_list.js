// The kept conversations, in a drawer: open, rename, delete.

import { conversationRequest, listConversations } from "./chat.js";
import { button, el, morph } from "./dom.js";
import { formatDate, t } from "./strings.js";

const [drawer, list, message, olderButton, openButton, closeButton] =
  ["conversations", "list", "list-message", "older", "open-list", "close-list"]
    .map((id) => document.getElementById(id));

let items = [];
let next = null;
let shownId = "";
let editedId = null;

export const conversationList = {
  /** Called with an id and title, without a title if it was deleted. */
  onChange() {},

  /** Mark the conversation that is shown. */
  mark(id) {
    shownId = id;
    render();
  },

  /** Load the newest ones again, if somebody looks or their titles are wanted. Older ones that are shown stay. */
  refresh(isWanted) {
    if (isWanted || drawer.open) load("", drawer.open);
  },
};

function open() {
  editedId = null;
  list.replaceChildren();
  render();
  drawer.showModal();
  load();
}

function load(after, keepsOlder) {
  if (!items.length) message.textContent = t("list.loading");
  attempt(async () => {
    const page = await listConversations(after);
    const ids = page.conversations.map(({ id }) => id);
    const others = items.filter(({ id }) => !ids.includes(id));
    const last = items.findIndex(({ id }) => id === ids.at(-1));
    const older = keepsOlder && last >= 0 ? others.filter((item) => items.indexOf(item) > last) : [];
    items = after ? [...others, ...page.conversations] : [...page.conversations, ...older];
    if (!older.length) next = page.next;
    items.forEach(conversationList.onChange);
    return items.length ? "" : t("list.empty");
  });
}

async function attempt(action) {
  try {
    message.textContent = await action();
  } catch (error) {
    message.textContent = error.message;
  }
  render();
}

function render() {
  olderButton.hidden = !next;
  if (list.querySelector("form")) return; // somebody is writing
  const focused = list.querySelector(":focus");
  const focusedId = focused?.closest("li").dataset.id;
  morph(list, el("ol", {}, ...items.map((item) => (
    el("li", { "data-id": item.id }, ...item.id === editedId ? [editForm(item)] : row(item))
  ))));
  if (focused && !focused.isConnected) find(focusedId, focused.localName)?.focus({ preventScroll: true });
}

function find(id, selector) {
  return [...list.children].find(({ dataset }) => dataset.id === id)?.querySelector(selector);
}

function row({ id, title, updated_at: updatedAt, running }) {
  const name = title || t("list.untitled"); // a picture alone gives it none
  const updated = new Date(updatedAt);
  const isToday = updated.toDateString() === new Date().toDateString();
  const when = formatDate(updated, isToday ? { timeStyle: "short" } : { dateStyle: "medium" });
  const link = el("a", {
    href: `#${encodeURIComponent(id)}`,
    "aria-current": id === shownId ? "page" : null,
    "data-running": running ? "" : null,
  }, el("b", {}, name), el("span", {}, running ? t("list.answering") : when));
  return [link, button("", null, { icon: "edit", "data-action": "edit", "aria-label": t("list.edit", { name }) })];
}

function editForm({ title }) {
  return el("form", {},
    el("input", { value: title, "aria-label": t("list.name"), maxlength: "80" }),
    el("button", { class: "strong" }, t("list.rename")),
    button(t("list.delete"), null, { "data-action": "delete" }),
    button(t("list.cancel"), null, { "data-action": "cancel" }));
}

function edit(id) {
  const focusedId = id ?? editedId;
  editedId = id;
  list.querySelector("form")?.remove();
  render();
  const first = find(focusedId, "input, button");
  first?.focus();
  first?.select?.();
}

function rename(event) {
  event.preventDefault();
  const id = editedId;
  const { defaultValue, value } = list.querySelector("input");
  const title = value.trim();
  edit(null);
  if (title && title !== defaultValue) attempt(async () => {
    const renamed = await conversationRequest("PATCH", id, { body: { title } });
    items = items.map((item) => item.id === id ? renamed : item);
    conversationList.onChange(renamed);
    return "";
  });
}

function remove(id) {
  edit(null);
  attempt(async () => {
    await conversationRequest("DELETE", id).catch((error) => { if (error.status !== 404) throw error; });
    const at = items.findIndex((item) => item.id === id);
    items = items.filter((item) => item.id !== id);
    const nearest = items[at] ?? items[at - 1];
    if (find(id, ":focus")) (find(nearest?.id, "a") ?? closeButton).focus({ preventScroll: true });
    conversationList.onChange({ id });
    return t("list.deleted");
  });
}

function handleClick({ target }) {
  if (target.closest("#forget")) [items, next] = [[], null]; // they are those of who had the key
  if (target === drawer || target.closest("a, #close-list, #forget")) return drawer.close();
  const pressed = target.closest("[data-action]");
  switch (pressed?.dataset.action) {
    case "edit": return edit(pressed.closest("li").dataset.id);
    case "cancel": return edit(null);
    case "delete": // once more, to be sure
      pressed.dataset.action = "confirm";
      pressed.querySelector("span").textContent = t("list.deleteForGood");
      return;
    case "confirm": return remove(editedId);
  }
}

openButton.addEventListener("click", open);
olderButton.addEventListener("click", () => load(next));
drawer.addEventListener("click", handleClick);
drawer.addEventListener("keydown", (event) => {
  if (event.key !== "Escape" || !editedId) return;
  event.preventDefault(); // it would close the drawer
  edit(null);
});
list.addEventListener("submit", rename);
