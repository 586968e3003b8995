// Keeps what is written and not sent, as long as this tab is open: also the data of files, as far as there is room.

import { randomId } from "./composer.js";

const ROOM = 4e6; // letters of files; browsers give a page five million at most
const PLACE = /winterbourne\.file\.\w+/g;

// The parts with data, by what their data is kept under.
const placed = new Map();

/** Keep a draft under this key; null for none. */
export function keepDraft(key, draft) {
  const before = sessionStorage.getItem(key) ?? "";
  const after = draft ? JSON.stringify(draft, (_, value) => value?.data ? { ...value, data: placeOf(value) } : value) : "";
  for (const [place] of before.matchAll(PLACE)) if (!after.includes(place)) drop(place);
  if (after) keepText(key, after);
  else sessionStorage.removeItem(key);
}

/** The draft of this key, if there is one, and whether it is whole: there may have been no room for its files. */
export function keptDraft(key) {
  let isWhole = true;
  const draft = JSON.parse(sessionStorage.getItem(key), (_, value) => {
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
  const length = [part, ...placed.values()].reduce((sum, { data }) => sum + data.length, 0);
  placed.set(place, part);
  if (length < ROOM) keepText(place, part.data);
  return place;
}

function partAt({ data: place, ...part }) {
  if (!placed.has(place)) {
    const data = sessionStorage.getItem(place);
    if (!data) return;
    placed.set(place, { ...part, data });
  }
  return placed.get(place);
}

function drop(place) {
  placed.delete(place);
  sessionStorage.removeItem(place);
}

// Browsers that have less room, and keep something already, throw: then it does not survive a reload.
function keepText(key, text) {
  try {
    sessionStorage.setItem(key, text);
  } catch { /* it is on the page all the same */ }
}
