// Chats of one version of the AI SDK that lose their connection: node resume.mjs ai|ai6|ai5 URL < [{question, cuts}, ...]
import { randomUUID } from "node:crypto";
import { chats } from "./chat.mjs";
import { cutAfter, main, withoutIds } from "./cuts.mjs";

const [version, base] = process.argv.slice(2);
const chat = await chats(version, base);

async function ask(question) {
  const asked = chat(randomUUID());
  await asked.sendMessage({ text: question });
  return { messages: withoutIds(asked.messages), bytes: asked.seen.bytes };
}

/** The chat that resumes. Version 5 cannot in the same page, which is loaded again instead. */
async function comeBack(broken) {
  if (version !== "ai5") return broken;
  const response = await fetch(`${base}/api/chat/${broken.id}`);
  return chat(broken.id, (await response.json()).messages);
}

async function interrupt(question, [first, ...later]) {
  let page = chat(randomUUID());
  await page.sendMessage({ text: question }, { headers: cutAfter(first) });
  const errors = [page.error?.message];
  for (const headers of [...later.map(cutAfter), {}]) {
    page = await comeBack(page);
    await page.resumeStream({ headers });
    errors.push(page.error?.message);
  }
  return { errors, status: page.status, messages: withoutIds(page.messages) };
}

await main(ask, interrupt);
