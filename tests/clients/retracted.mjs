// What a stock client has of answers of which something was taken back: node retracted.mjs PACKAGE < [{stream}, ...]
// PACKAGE is a version of the AI SDK or of AG-UI's client. Prints [{message, errors}, ...] or [{messages, errors}, ...].
import { text } from "node:stream/consumers";

const library = await import(process.argv[2]);
const question = { id: "user-1", role: "user" };
const streams = JSON.parse(await text(process.stdin));
const answer = (stream) => async () => new Response(stream, { headers: { "content-type": "text/event-stream" } });

async function aiSdk(stream) {
  const transport = new library.DefaultChatTransport({ api: "http://chat.test", fetch: answer(stream) });
  const messages = [{ ...question, parts: [{ type: "text", text: "Hi" }] }];
  const chunks = await transport.sendMessages({ trigger: "submit-message", chatId: "c", messages });
  const errors = [];
  let message;
  const onError = (error) => errors.push(error.message);
  for await (const snapshot of library.readUIMessageStream({ stream: chunks, onError })) message = snapshot;
  return { message, errors };
}

async function agUi(stream) {
  globalThis.fetch = answer(stream);
  const initialMessages = [{ ...question, content: "1 + 2, and ships?" }];
  const agent = new library.HttpAgent({ url: "http://chat.test", threadId: "t-1", initialMessages });
  const errors = [];
  await agent.runAgent({ runId: "run-1" }).catch((error) => errors.push(error.message));
  return { messages: agent.messages, errors };
}

console.warn = console.error = () => {};
const outcomes = [];
for (const stream of streams) outcomes.push(await (library.HttpAgent ? agUi : aiSdk)(stream));
console.log(JSON.stringify(outcomes));
