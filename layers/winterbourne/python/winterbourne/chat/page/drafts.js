// Keeps what is written and not sent, as long as this tab is open: also the data of files, as far as there is room.

import { randomId } from "./composer.js";
import { tabStorage } from "./config.js";

const ROOM = " ".repeat(2e5); // is left to words
const PLACE = /winterbourne\.file\.\w+/g;

// The parts with data, by what their data is kept under.
const placed = new Map();

/** What the draft of the conversation of this id is kept under; of a new one, the id is empty. */
export const draftKeyOf = (id) => `winterbourne.draft#${id}`;

/** Keep a draft under this key; null for none. */
export function keepDraft(key, draft) {
  const before = tabStorage.getItem(key) ?? "";
  const after = draft ? JSON.stringify(draft, (_, value) => value?.data ? { ...value, data: placeOf(value) } : value) : "";
  for (const [place] of before.matchAll(PLACE)) if (!after.includes(place)) drop(place);
  keepText(key, after);
}

/** The draft of this key, if there is one, and whether it is whole: there may have been no room for its files. */
export function keptDraft(key) {
  let isWhole = true;
  const draft = JSON.parse(tabStorage.getItem(key), (_, value) => {
    if (Array.isArray(value)) return value.filter(Boolean);
    if (!value?.data) return value;
    const part = partAt(value);
    isWhole &&= Boolean(part);
    return part;
  });
  return { draft: draft ?? {}, isWhole };
}

function placeOf(part) {
  for (const [place, each] of placed) if (each === part) return place;
  const place = randomId("winterbourne.file.");
  placed.set(place, part);
  keepText(place, part.data + ROOM);
  if (tabStorage.getItem(place)) keepText(place, part.data);
  return place;
}

function partAt({ data: place, ...part }) {
  if (!placed.has(place)) {
    const data = tabStorage.getItem(place);
    if (!data) return;
    placed.set(place, { ...part, data });
  }
  return placed.get(place);
}

function drop(place) {
  placed.delete(place);
  tabStorage.removeItem(place);
}

// What there is no room for is on the page all the same; it does not survive a reload.
function keepText(key, text) {
  tabStorage.removeItem(key);
  try {
    if (text) tabStorage.setItem(key, text);
  } catch { /* the browser keeps no more */ }
}
