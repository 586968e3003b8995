// Tools that ask a person first, as an agent's frontend has them: node ag_ui_approvals.mjs URL [PACKAGE]
// Prints {scenario: what came of it} as JSON.
import { randomUUID } from "node:crypto";

const [base, version = "@ag-ui/client"] = process.argv.slice(2);
const { HttpAgent } = await import(version);

async function run(agent, parameters = {}) {
  const events = [];
  let error;
  await agent
    .runAgent(parameters, { onEvent: ({ event }) => void events.push(event) })
    .catch((reason) => (error = reason.message));
  return { events, types: events.map((event) => event.type), error, messages: structuredClone(agent.messages) };
}

async function asked(text) {
  const agent = new HttpAgent({ url: `${base}/agui`, threadId: randomUUID() });
  agent.addMessage({ id: randomUUID(), role: "user", content: text });
  return [agent, await run(agent), agent.pendingInterrupts];
}

/** `answers` are in the order of the calls. */
async function decided(text, ...answers) {
  const [agent, first, unordered] = await asked(text);
  const interrupts = unordered.toSorted((a, b) => a.toolCallId.localeCompare(b.toolCallId));
  const resume = interrupts.map(({ id }, at) => ({ interruptId: id, ...answers[at] }));
  return { first, interrupts, after: await run(agent, { resume }), left: agent.pendingInterrupts };
}

const resolved = (payload) => ({ status: "resolved", payload });

async function unanswered() {
  const [agent] = await asked("please pay 5");
  agent.addMessage({ id: randomUUID(), role: "user", content: "Never mind" });
  return run(agent);
}

const edited = { text: "Hello", copies: 1, is_urgent: false };
const outcomes = {
  yes: await decided("please pay 5", resolved({ approved: true })),
  no: await decided("please pay 5", resolved({ approved: false, reason: "Too much" })),
  cancelled: await decided("please pay 5", { status: "cancelled" }),
  bad: await decided("please pay 5", resolved({ approved: "yes" })),
  edited: await decided("please send_note 2", resolved({ approved: true, editedArgs: edited })),
  two: await decided("please pay 5 and send_note 2", resolved({ approved: true }), { status: "cancelled" }),
  unanswered: await unanswered(),
};
console.log(JSON.stringify(outcomes));
process.exit();
