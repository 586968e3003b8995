// Does a format's own client accept these streams? node accept.mjs < [{format, stream}, ...]
// Prints for each the error the client made of it, or null. A stream's own error word is none.
import { text } from "node:stream/consumers";
import * as agUi1 from "@ag-ui/client";
import * as agUi0 from "ag-ui-0";
import { createParser } from "eventsource-parser";
import OpenAI from "openai";

const sdks = { ai: await import("ai"), ai6: await import("ai6"), ai5: await import("ai5") };
const respond = (stream) => async () =>
  new Response(stream, { headers: { "content-type": "text/event-stream" } });

async function aiSdk({ DefaultChatTransport, readUIMessageStream }, stream) {
  const transport = new DefaultChatTransport({ api: "http://chat.test", fetch: respond(stream) });
  const messages = [{ id: "1", role: "user", parts: [] }];
  const chunks = await transport.sendMessages({ trigger: "submit-message", chatId: "c", messages });
  const errors = [];
  const [watched, read] = chunks.tee();
  let expected;
  const watching = (async () => {
    for await (const chunk of watched) if (chunk.type === "error") expected = chunk.errorText;
  })();
  for await (const _ of readUIMessageStream({ stream: read, onError: (error) => errors.push(error.message) }));
  await watching;
  return errors.find((error) => error !== expected) ?? null;
}

async function agUi({ HttpAgent }, stream) {
  const agent = new HttpAgent({ url: "http://chat.test", fetch: respond(stream) });
  let expected;
  try {
    await agent.runAgent({}, { onRunErrorEvent: ({ event }) => void (expected = event.message) });
  } catch (error) {
    if (!expected || !error.message.includes(expected)) return error.message;
  }
  return null;
}

async function openai(stream) {
  const client = new OpenAI({ baseURL: "http://chat.test", apiKey: "unused", fetch: respond(stream), maxRetries: 0 });
  try {
    await client.chat.completions.stream({ model: "m", messages: [] }).finalChatCompletion();
  } catch (error) {
    if (error.code !== "model_busy") return error.message;
  }
  return null;
}

function native(stream) {
  const frames = [];
  const parser = createParser({
    onEvent: (event) => frames.push(JSON.parse(event.data)),
    onError: (error) => frames.push({ type: error.message }),
  });
  parser.feed(stream);
  const known = ["start", "content", "reasoning", "tool_call", "source", "turn", "retract", "done", "error", "stopped"];
  return frames.map((frame) => frame.type).find((type) => !known.includes(type)) ?? null;
}

const accepts = {
  native,
  "ag-ui": (stream) => agUi(agUi1, stream),
  "ag-ui-0": (stream) => agUi(agUi0, stream),
  openai,
  ...Object.fromEntries(Object.entries(sdks).map(([name, sdk]) => [name, (stream) => aiSdk(sdk, stream)])),
};

console.warn = console.error = () => {};
const verdicts = [];
for (const { format, stream } of JSON.parse(await text(process.stdin))) {
  verdicts.push(await accepts[format](stream));
}
console.log(JSON.stringify(verdicts));
