// Saves a conversation as a file of Markdown.

import { el } from "./dom.js";
import { t } from "./strings.js";

/** Let the browser save the conversation {title, exchanges} under its title. */
export function saveMarkdown({ title, exchanges }) {
  const name = title || t("list.untitled");
  const text = [`# ${name}`, ...exchanges.flatMap(toMarkdown)].filter(Boolean).join("\n\n");
  const href = URL.createObjectURL(new Blob([text, "\n"], { type: "text/markdown" }));
  el("a", { href, download: name.replace(/[^\p{L}\p{N}]+/gu, " ").trim() + ".md" }).click();
  setTimeout(() => URL.revokeObjectURL(href), 60_000);
}

function toMarkdown({ message, answer, frames }) {
  const sources = new Map(frames.filter(({ type }) => type === "source").map((source) => [source.id, source]));
  return [
    `## ${t("save.question")}`,
    ...message.content.map(({ type, text, name }) => text ?? `[${name || t(`files.${type}`)}]`),
    `## ${t("answer.label")}`,
    answer.turns.text,
    [...sources.values()].map(({ url, title }) => ["-", url && `<${url}>`, title || (url ? "" : t("answer.document"))].filter(Boolean).join(" ")).join("\n"),
  ];
}
