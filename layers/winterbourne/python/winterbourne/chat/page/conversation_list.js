// The kept conversations, in a drawer, by day: search, open, rename, delete.

import { requestStop } from "./chat.js";
import { button, byId, el, morph, on } from "./dom.js";
import { draftKeyOf, keepDraft } from "./drafts.js";
import { archive } from "./history.js";
import { formatDate, t } from "./strings.js";

const UNDO_MS = 8000;
const STOPPED_MS = 1500; // a stopped answer has ended by then
const DAY_MS = 86_400_000;
const MANY = 100; // loaded at once to search in

const [drawer, list, message, searchInput, olderButton, openButton, closeButton] =
  ["conversations", "list", "list-message", "search", "older", "open-list", "close-list"].map(byId);
const undoButton = button(t("list.undo"), undo, { class: "strong" });

let items = [];
let next = null;
let shownId = "";
let editedId = null;
let reader = {}; // another one once the key is forgotten
let isSearching = false;
let deleted = null; // {item, wasShown, timer} as long as that can be undone

export const conversationList = {
  /** Offer to delete what the browser keeps, which whoever uses it next would see. */
  async offerDeletion() {
    if (archive.isLocal && items.length) await removeAll();
  },

  /** Called with an id and title, without a title if it was deleted. */
  onChange() {},

  /** Mark the conversation that is shown. */
  mark(id) {
    shownId = id;
    renderList();
  },

  /** Load the newest ones again, if somebody looks or their titles are wanted. Older ones that are shown stay. */
  refresh(isWanted) {
    if (isWanted || drawer.open) loadPage("", drawer.open);
  },
};

function openDrawer() {
  editedId = next = null;
  searchInput.value = "";
  list.replaceChildren();
  renderList();
  drawer.showModal();
  loadPage().then(() => searchInput.value && search()); // who types at once searches in all of them, too
}

function loadPage(after, keepsOlder, limit) {
  if (!items.length) message.textContent = t("list.loading");
  const asker = reader;
  return attempt(async () => {
    const page = await archive.list(after, limit);
    if (asker !== reader) return "";
    const ids = page.conversations.map(({ id }) => id);
    const others = items.filter(({ id }) => !ids.includes(id));
    const last = items.findIndex(({ id }) => id === ids.at(-1));
    const older = keepsOlder && last >= 0 ? others.filter((item) => items.indexOf(item) > last) : [];
    items = after ? [...others, ...page.conversations] : [...page.conversations, ...older];
    if (!older.length) next = page.next;
    items.forEach(conversationList.onChange);
    return foundText();
  });
}

async function attempt(action) {
  let text;
  try {
    text = await action();
  } catch (error) {
    text = error.message;
  }
  if (!deleted) message.textContent = text;
  renderList();
}

// Looks through all of them: those that are not here yet are loaded, as long as somebody searches.
async function search() {
  renderList();
  if (!deleted) message.textContent = foundText();
  if (isSearching) return;
  isSearching = true;
  while (next && searchInput.value && drawer.open) {
    const cursor = next;
    await loadPage(cursor, false, MANY);
    if (next === cursor) break; // it failed
  }
  isSearching = false;
}

function foundText() {
  if (searchInput.value) return t("list.found", { count: found().length });
  return items.length ? "" : t("list.empty");
}

const plain = (text) => text.normalize("NFD").replace(/\p{M}/gu, "").toLowerCase();

function found() {
  const wanted = plain(searchInput.value.trim());
  return items.filter(({ id, title }) => id !== deleted?.item.id && plain(title ?? "").includes(wanted));
}

function renderList() {
  const isLast = !next && document.activeElement === olderButton;
  olderButton.hidden = !next;
  if (list.querySelector("form")) return; // somebody is writing
  const focused = list.querySelector(":focus");
  const focusedId = focused?.closest("li").dataset.id;
  const groups = Object.entries(Object.groupBy(found(), dayOf));
  morph(list, el("div", {}, ...groups.flatMap(([day, ones]) => [el("h3", {}, day), el("ol", { role: "list", "aria-label": day },
    ...ones.map((item) => el("li", { "data-id": item.id }, ...item.id === editedId ? [editForm(item)] : listRow(item))))])));
  if (focused && !focused.isConnected) findIn(focusedId, focused.localName)?.focus({ preventScroll: true });
  if (isLast) [...list.querySelectorAll("a")].at(-1)?.focus();
}

function dayOf({ updated_at: updatedAt }) {
  const date = new Date(updatedAt);
  const days = Math.round((new Date().setHours(12, 0, 0, 0) - new Date(date).setHours(12, 0, 0, 0)) / DAY_MS);
  if (days < 8) return t(`list.${days < 1 ? "today" : days < 2 ? "yesterday" : "week"}`);
  return formatDate(date, { month: "long", year: "numeric" });
}

function findIn(id, selector) {
  return [...list.querySelectorAll("li")].find(({ dataset }) => dataset.id === id)?.querySelector(selector);
}

function listRow({ id, title, updated_at: updatedAt, running }) {
  const name = title || t("list.untitled"); // a picture alone gives it none
  const isRecent = Date.now() - new Date(updatedAt) < 2 * DAY_MS;
  const when = formatDate(new Date(updatedAt), isRecent ? { timeStyle: "short" } : { dateStyle: "medium" });
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
  renderList();
  const first = findIn(focusedId, "input, button");
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
    const renamed = await archive.rename(id, title);
    items = items.map((item) => item.id === id ? { ...item, ...renamed } : item);
    conversationList.onChange(renamed);
    return "";
  });
}

// It goes at once, and for good once that cannot be undone any more.
function remove(id) {
  sendDeletion();
  const ids = found().map((item) => item.id);
  const nearest = ids[ids.indexOf(id) + 1] ?? ids.at(-2);
  deleted = { item: items.find((item) => item.id === id), wasShown: id === shownId };
  deleted.timer = setTimeout(sendDeletion, UNDO_MS);
  edit(null);
  message.replaceChildren(t("list.deleted"), " ", undoButton);
  (findIn(nearest, "a") ?? closeButton).focus({ preventScroll: true });
  if (deleted.wasShown) conversationList.onChange({ id });
}

function undo() {
  clearTimeout(deleted.timer);
  const { item: { id }, wasShown } = deleted;
  deleted = null;
  message.textContent = "";
  renderList();
  findIn(id, "a")?.focus();
  if (wasShown) location.hash = id;
}

function sendDeletion({ type } = {}) {
  if (!deleted) return;
  clearTimeout(deleted.timer);
  const { item } = deleted;
  const deletion = forget(item, type === "pagehide");
  items = items.filter(({ id }) => id !== item.id);
  if (message.contains(document.activeElement)) closeButton.focus();
  deleted = null;
  attempt(() => deletion.then(() => t("list.deleted"), (error) => {
    if (error.status === 404) return t("list.deleted");
    items.push(item);
    items.sort((a, b) => new Date(b.updated_at) - new Date(a.updated_at));
    throw error;
  }));
}

async function removeAll() {
  if (!confirm(t("list.deleteAllAsked"))) return;
  clearTimeout(deleted?.timer);
  deleted = null;
  edit(null);
  await attempt(async () => {
    for (const item of items) {
      await forget(item);
      items = items.filter(({ id }) => id !== item.id);
      conversationList.onChange({ id: item.id });
    }
    return t("list.deleted");
  });
}

// One that still answers is stopped first.
async function forget({ id, running }, keepalive) {
  if (running && !keepalive && await requestStop(id)) await new Promise((resolve) => { setTimeout(resolve, STOPPED_MS); });
  await archive.delete(id, { keepalive });
  keepDraft(draftKeyOf(id), null);
}

function handleClick({ target }) {
  if (target.closest("#forget")) [items, next, reader] = [[], null, {}]; // they are those of who had the key
  if (target === drawer || target.closest("a, #close-list, #forget")) return drawer.close();
  const pressed = target.closest("[data-action]");
  switch (pressed?.dataset.action) {
    case "edit": return edit(pressed.closest("li").dataset.id);
    case "cancel": return edit(null);
    case "delete": return remove(editedId);
  }
}

byId("here").hidden = !archive.isLocal;
on(openButton, "click", openDrawer);
on(byId("delete-all"), "click", removeAll);
on(olderButton, "click", () => loadPage(next));
on(searchInput, "input", search);
on(drawer, "click", handleClick);
on(drawer, "keydown", (event) => {
  if (event.key !== "Escape") return;
  if (editedId) edit(null);
  else if (searchInput.value) {
    searchInput.value = "";
    search();
  } else return;
  event.preventDefault(); // it would close the drawer
});
on(list, "submit", rename);
addEventListener("pagehide", sendDeletion);
