// The sources of an answer: a numbered list, and their numbers in the text, which open to what was cited.

import { el } from "./dom.js";
import { safeUrl } from "./markdown.js";
import { t } from "./strings.js";
import { MARK } from "./turns.js";

let answers = 0;

export class Sources {
  #marks = new Map(); // by a source's id
  #answer = answers += 1;
  #list = el("ol", { class: "sources", "aria-label": t("answer.sources") });
  #cards = el("div");
  node = el("div", { hidden: "" }, this.#list, this.#cards);

  get size() {
    return this.#marks.size;
  }

  /** Add a source, once; returns the mark that cites it in the text. */
  add({ id, url, title, cited_text: quote }) {
    if (!this.#marks.has(id)) {
      const mark = `${this.size + 1}s${this.#answer}`;
      this.#marks.set(id, `\u303f${mark}\u303f`);
      this.#list.append(el("li", {}, link(url, title)));
      this.#cards.append(el("div", { id: mark, class: "card", popover: "" }, link(url, title), quote && el("p", {}, quote)));
      this.node.hidden = false;
    }
    return this.#marks.get(id);
  }

  /** Take back all but the first. */
  cut(size) {
    for (const id of [...this.#marks.keys()].slice(size)) {
      this.#marks.delete(id);
      this.#list.lastChild.remove();
      this.#cards.lastChild.remove();
    }
    this.node.hidden = !size;
  }
}

// A page is a link, a document its name.
function link(url, title) {
  const href = url && safeUrl(url);
  const name = title || url || t("answer.document");
  return href ? el("a", { href, target: "_blank", rel: "noopener noreferrer" }, name) : name;
}

/** Text, with a button in place of each mark. Its number is no text, so that no copy has it. */
export function citedText(text) {
  return text.split(MARK).map((piece, index) => index % 2 === 0 ? document.createTextNode(piece)
    : el("button", { type: "button", class: "cite", popovertarget: piece, "aria-label": t("answer.source", { number: parseInt(piece) }), "data-number": parseInt(piece) }));
}
