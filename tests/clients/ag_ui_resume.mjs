// Threads of AG-UI that lose their connection: node ag_ui_resume.mjs PACKAGE URL < [{question, cuts}, ...]
import { randomUUID } from "node:crypto";
import { counted, cutAfter, main, withoutIds } from "./cuts.mjs";

process.on("unhandledRejection", () => {}); // the client rejects a promise of its own beside the one of its caller

const [version, base] = process.argv.slice(2);
const { HttpAgent } = await import(version);

function agentFor(question, seen = { bytes: 0 }) {
  const initialMessages = [{ id: randomUUID(), role: "user", content: question }];
  return new HttpAgent({ url: `${base}/agui`, threadId: randomUUID(), initialMessages, fetch: counted(seen) });
}

async function ask(question) {
  const seen = { bytes: 0 };
  const agent = agentFor(question, seen);
  await agent.runAgent();
  return { messages: withoutIds(agent.messages), bytes: seen.bytes };
}

/** Whoever comes back has no messages: the thread's are told by the run. */
async function interrupt(question, cuts) {
  const agent = agentFor(question);
  const errors = [];
  for (const headers of [...cuts.map(cutAfter), {}]) {
    if (errors.length) agent.setMessages([]);
    agent.headers = headers;
    await agent.runAgent().then(() => errors.push(null), (error) => errors.push(error.message));
  }
  return { errors, status: "ready", messages: withoutIds(agent.messages) };
}

await main(ask, interrupt);
