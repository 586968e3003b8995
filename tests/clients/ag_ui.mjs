// A chat as CopilotKit has it: node ag_ui.mjs URL [PACKAGE]. Every event passes the client's own verifier.
// Prints {scenario: what came of it} as JSON.
import { randomUUID } from "node:crypto";

const [base, version = "@ag-ui/client"] = process.argv.slice(2);
const { HttpAgent } = await import(version);

const agentFor = (...texts) =>
  new HttpAgent({
    url: `${base}/agui`,
    threadId: randomUUID(),
    initialMessages: texts.map((content) => ({ id: randomUUID(), role: "user", content })),
  });

async function run(agent, parameters = {}, onEvent = () => {}) {
  const events = [];
  const watch = ({ event }) => {
    events.push(event);
    onEvent(event);
  };
  let error;
  await agent.runAgent(parameters, { onEvent: watch }).catch((reason) => (error = reason.message));
  return { types: events.map((event) => event.type), first: events[0], last: events.at(-1), error };
}

async function fiveToolsAndASecondTurn() {
  const agent = agentFor("Compare AAPL and MSFT, the weather in Paris and Lima, and 1200 EUR in USD");
  const first = await run(agent, { runId: "run-1" });
  const messages = structuredClone(agent.messages);
  agent.addMessage({ id: randomUUID(), role: "user", content: "And the weather in Rome?" });
  const second = await run(agent);
  return { threadId: agent.threadId, first, messages, second, allMessages: agent.messages };
}

function stopped() {
  const agent = agentFor("count to 2000");
  let asked = false;
  return run(agent, {}, (event) => {
    if (event.type === "TEXT_MESSAGE_CONTENT" && !asked) {
      asked = true;
      fetch(`${base}/chat/${encodeURIComponent(agent.threadId)}/stop`, { method: "POST" });
    }
  });
}

async function ownTool() {
  const parameters = { type: "object", properties: { question: { type: "string" } }, required: ["question"] };
  const tools = [{ name: "ask_user", description: "Ask the user", parameters }];
  const agent = agentFor("please ask_user");
  const called = await run(agent, { tools });
  const toolCallId = agent.messages.flatMap((message) => message.toolCalls ?? [])[0].id;
  agent.addMessage({ id: randomUUID(), role: "tool", toolCallId, content: "blue" });
  const after = await run(agent, { tools });
  return { called, toolCallId, after, messages: agent.messages };
}

async function refused() {
  const agent = agentFor("Hi");
  agent.requestInit = () => ({ method: "POST", headers: { "content-type": "application/json" }, body: "{" });
  return run(agent);
}

const scenarios = {
  fiveToolsAndASecondTurn,
  stopped,
  ownTool,
  refused,
  failed: () => run(agentFor("fail halfway")),
  context: () => run(agentFor("Hi"), { context: [{ description: "Name", value: "Ada" }] }),
};
const outcomes = Object.entries(scenarios).map(async ([name, run]) => [name, await run()]);
console.log(JSON.stringify(Object.fromEntries(await Promise.all(outcomes))));
