// The OpenAI SDK for Node: node openai.mjs URL. Prints {scenario: what came of it} as JSON.
import OpenAI from "openai";

const [base] = process.argv.slice(2);
const client = new OpenAI({ baseURL: `${base}/v1`, apiKey: "unused", maxRetries: 0 });
const model = "scripted";
const said = (content) => [{ role: "user", content }];
const parameters = { type: "object", properties: { question: { type: "string" } }, required: ["question"] };
const tools = [{ type: "function", function: { name: "ask_user", description: "Ask", parameters } }];

async function streamed() {
  const messages = said("the weather in Paris and Lima, and AAPL and MSFT shares, and 1200 EUR in USD");
  const stream = client.chat.completions.stream({ model, messages, stream_options: { include_usage: true } });
  const kinds = new Set();
  for await (const chunk of stream) kinds.add(chunk.object);
  return { completion: await stream.finalChatCompletion(), kinds: [...kinds] };
}

const whole = () => client.chat.completions.create({ model, messages: said("the weather in Paris") });

async function ownTool() {
  const messages = said("please ask_user");
  const completion = await client.chat.completions.stream({ model, messages, tools }).finalChatCompletion();
  const called = completion.choices[0];
  const results = called.message.tool_calls.map((call) => ({ role: "tool", tool_call_id: call.id, content: "blue" }));
  const after = await client.chat.completions.create({
    model,
    messages: [...messages, called.message, ...results],
    tools,
  });
  return { called, after };
}

async function error(options) {
  try {
    const answer = await client.chat.completions.create(options);
    for await (const _ of options.stream ? answer : []);
  } catch (reason) {
    return { kind: reason.constructor.name, status: reason.status, code: reason.code, message: reason.message };
  }
}

async function models() {
  const names = [];
  for await (const offered of client.models.list()) names.push(offered.id);
  return names;
}

const scenarios = {
  streamed,
  whole,
  ownTool,
  models,
  unknownModel: () => error({ model: "huge", messages: said("Hi") }),
  failedStream: () => error({ model, messages: said("fail halfway"), stream: true }),
  failedWhole: () => error({ model, messages: said("fail halfway") }),
};
const outcomes = Object.entries(scenarios).map(async ([name, run]) => [name, await run()]);
console.log(JSON.stringify(Object.fromEntries(await Promise.all(outcomes))));
