// The chat page: what its keys, its address and its buttons do.

import { composer } from "./composer.js";
import { catchUp, openFromUrl, startOver, stopAnswer } from "./conversation.js";

addEventListener("keydown", (event) => {
  if (event.key === "Escape" && !document.querySelector("dialog[open]")) stopAnswer();
});
addEventListener("hashchange", openFromUrl);
document.addEventListener("visibilitychange", catchUp);
document.getElementById("new").addEventListener("click", startOver);
document.getElementById("hero").addEventListener("click", ({ target }) => {
  if (target.matches(".suggestion")) composer.ask(target.textContent);
});
openFromUrl();
