// Saves a conversation as a file of Markdown.

import { el } from "./dom.js";
import { t } from "./strings.js";

/** Let the browser save the conversation {title, exchanges} under its title. */
export function saveMarkdown({ title, exchanges }) {
  const name = title || t("list.untitled");
  const text = [`# ${name}`, ...exchanges.flatMap(toMarkdown)].join("\n\n") + "\n";
  const href = URL.createObjectURL(new Blob([text], { type: "text/markdown" }));
  el("a", { href, download: `${name.replace(/[\\/:*?"<>|]/g, " ").trim()}.md` }).click();
  setTimeout(() => URL.revokeObjectURL(href), 60_000);
}

function toMarkdown({ message, answers }) {
  const parts = answers.flatMap(({ parts = [] }) => parts);
  const tools = parts.filter(({ type }) => type === "tool_call").map(({ name }) => `\`${name}\``);
  const sources = new Map(parts.filter(({ type }) => type === "source").map((source) => [source.id, source]));
  return [
    `## ${t("save.question")}`,
    ...message.content.map(({ type, text, name }) => text ?? `[${name || type}]`),
    `## ${t("answer.label")}`,
    tools.length && `*${t("answer.tools")}: ${tools.join(", ")}*`,
    ...parts.map(({ type, text }) => type === "text" && text),
    sources.size && [`${t("answer.sources")}:`, "", ...[...sources.values()].map(toItem)].join("\n"),
  ].filter(Boolean);
}

const toItem = ({ url, title }, at) => `${at + 1}. ${url ? `[${title || url}](${url})` : title || t("answer.document")}`;
