// A question as it is shown: its words, its files, and what can be done with it.

import { chip, divide } from "./attachments.js";
import { composer } from "./composer.js";
import { button, copyText, el } from "./dom.js";
import { t } from "./strings.js";

const isFoldable = (words) => words.length > 600 || words.split("\n", 11).length > 10;

/** A message of the user's. */
export function questionNode(message) {
  const [words, parts] = divide(message.content);
  const heading = words ? el("h2", {}, words) : null;
  const files = parts.length ? el("ul", { class: "files", role: "list" }, ...parts.map((part) => chip(part))) : null;
  const copy = button("", () => copyText(words, copy), { icon: "copy", title: t("question.copy") });
  const edit = button("", () => composer.edit(message), { icon: "edit", title: t("question.edit") });
  return el("div", { class: "question" }, files, heading,
    el("div", {}, isFoldable(words) ? foldButton(heading) : null, edit, words ? copy : null));
}

function foldButton(heading) {
  const toggle = () => {
    const isFolded = heading.classList.toggle("folded");
    node.ariaExpanded = !isFolded;
    node.lastChild.textContent = t(isFolded ? "question.more" : "question.less");
  };
  const node = button("", toggle);
  toggle();
  return node;
}
