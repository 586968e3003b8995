// The chat page: what its keys, its address and its buttons do.

import { composer } from "./composer.js";
import { catchUp, openFromUrl, startOver, stopAnswer } from "./conversation.js";
import { byId, on } from "./dom.js";

addEventListener("keydown", (event) => {
  if (event.key === "Escape" && !event.isComposing && !document.querySelector("dialog[open], :popover-open")) stopAnswer();
});
// What was pressed with a key may be gone, and with it the place on the page.
addEventListener("click", ({ detail }) => {
  if (!detail) setTimeout(() => document.activeElement === document.body && composer.focus(), 50);
});
addEventListener("hashchange", openFromUrl);
on(document, "visibilitychange", catchUp);
on(byId("new"), "click", startOver);
on(byId("hero"), "click", ({ target }) => {
  if (target.matches("[data-fill]")) fill(`${target.textContent}: `);
  else if (target.matches(".suggestion")) composer.ask(target.textContent);
});

// What a tool does, as the beginning of a question; what was written there comes back with the browser's undo.
function fill(text) {
  const input = byId("question");
  input.focus();
  input.select();
  document.execCommand("insertText", false, text);
}

openFromUrl();
