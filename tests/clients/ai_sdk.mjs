// A chat as useChat has it, with one version of the AI SDK: node ai_sdk.mjs ai|ai6|ai5 URL
// Prints {scenario: what came of it} as JSON.
import { randomUUID } from "node:crypto";
import { chats } from "./chat.mjs";

const [version, base] = process.argv.slice(2);
const { DefaultChatTransport, convertToModelMessages, readUIMessageStream } = await import(version);

const said = (text) => ({ id: randomUUID(), role: "user", parts: [{ type: "text", text }] });

async function ask(messages, { chatId = randomUUID(), body = {}, onChunk = () => {} } = {}) {
  const transport = new DefaultChatTransport({ api: `${base}/api/chat`, body });
  const last = messages.at(-1);
  const stream = await transport.sendMessages({ trigger: "submit-message", chatId, messages });
  const [watched, read] = stream.tee();
  const chunks = [];
  const watching = (async () => {
    for await (const chunk of watched) {
      chunks.push(chunk);
      onChunk(chunk, chatId);
    }
  })();
  const errors = [];
  let message = last.role === "assistant" ? structuredClone(last) : undefined;
  const options = { stream: read, message, onError: (error) => errors.push(error.message) };
  for await (const snapshot of readUIMessageStream(options)) message = snapshot;
  await watching;
  return { message, errors, chunks: chunks.map((chunk) => chunk.type), last: chunks.at(-1) };
}

async function fiveToolsAndASecondTurn() {
  const first = said("Compare AAPL and MSFT, the weather in Paris and Lima, and 1200 EUR in USD");
  const answer = await ask([first]);
  const second = await ask([first, answer.message, said("And the weather in Rome?")]);
  const ids = new Set([answer.message.id, second.message.id]);
  return { first: answer, second, ids: ids.size, modelMessages: await convertToModelMessages([first, answer.message]) };
}

function stopped() {
  let asked = false;
  return ask([said("count to 2000")], {
    onChunk: (chunk, chatId) => {
      if (chunk.type === "text-delta" && !asked) {
        asked = true;
        fetch(`${base}/chat/${encodeURIComponent(chatId)}/stop`, { method: "POST" });
      }
    },
  });
}

async function ownTool() {
  const parameters = { type: "object", properties: { question: { type: "string" } }, required: ["question"] };
  const body = { tools: { ask_user: { description: "Ask the user", parameters } } };
  const first = said("please ask_user");
  const called = await ask([first], { body });
  const answered = structuredClone(called.message);
  const part = answered.parts.find((part) => part.type === "tool-ask_user");
  Object.assign(part, { state: "output-available", output: "blue" });
  const after = await ask([first, answered], { body });
  return { called, after };
}

async function resumed() {
  return new DefaultChatTransport({ api: `${base}/api/chat` }).reconnectToStream({ chatId: "c1" });
}

async function refused() {
  try {
    await ask([{ id: "1", role: "robot", parts: [] }]);
  } catch (error) {
    return error.message;
  }
}

// As a form's files are sent: the chat keeps its messages, and loads them again.
async function files() {
  const chat = (await chats(version, base))(randomUUID());
  const url = (mediaType, text) => `data:${mediaType};base64,${Buffer.from(text).toString("base64")}`;
  const pdf = "application/pdf";
  const files = [
    { type: "file", mediaType: pdf, filename: "plan.pdf", url: url(pdf, "%PDF-1.7\n") },
    { type: "file", mediaType: "text/csv", filename: "tides.csv", url: url("text/csv", "at,height") },
    { type: "file", mediaType: pdf, filename: "tides.pdf", url: "https://example.com/tides.pdf" },
  ];
  await chat.sendMessage({ text: "What do these say?", files });
  const errors = [chat.error?.message];
  const live = JSON.parse(JSON.stringify(chat.messages));
  const loaded = await (await fetch(`${base}/api/chat/${chat.id}`)).json();
  await chat.sendMessage({ text: "No.", files: [{ ...files[0], url: url(pdf, "no PDF") }] });
  errors.push(chat.error?.message);
  await chat.sendMessage({ text: "And now?" });
  return { live, loaded, errors: [...errors, chat.error?.message], last: chat.lastMessage };
}

const scenarios = { files, fiveToolsAndASecondTurn, stopped, ownTool, resumed, refused, failed: () => ask([said("fail halfway")]) };
const outcomes = Object.entries(scenarios).map(async ([name, run]) => [name, await run()]);
console.log(JSON.stringify(Object.fromEntries(await Promise.all(outcomes))));
