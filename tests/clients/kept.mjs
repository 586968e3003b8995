// Do kept messages equal what the client has once it has read the streams?
// node kept.mjs ai|ai6|ai5 < [{kept, answers: [{message?, outputs?, stream}]}, ...]
// Prints [{chat, live, kept} or {chat, error}] for those that differ, as the client's own validator reads both.
import { text } from "node:stream/consumers";
import { isDeepStrictEqual } from "node:util";

const { DefaultChatTransport, readUIMessageStream, safeValidateUIMessages } = await import(process.argv[2]);

const respond = (stream) => async () => new Response(stream, { headers: { "content-type": "text/event-stream" } });

async function read(messages, stream) {
  const transport = new DefaultChatTransport({ api: "http://chat.test", fetch: respond(stream) });
  const chunks = await transport.sendMessages({ trigger: "submit-message", chatId: "c", messages });
  const last = messages.at(-1);
  let message = last.role === "assistant" ? last : undefined;
  for await (const snapshot of readUIMessageStream({ stream: chunks, message, onError: () => {} })) message = snapshot;
  return last.role === "assistant" ? [...messages.slice(0, -1), message] : [...messages, message];
}

async function validated(messages) {
  const { success, data, error } = await safeValidateUIMessages({ messages });
  if (!success) throw new Error(`${error.message}`.slice(0, 2000));
  return JSON.parse(JSON.stringify(data));
}

async function difference({ kept, answers }, chat) {
  let live = [];
  for (const { message, outputs, stream } of answers) {
    if (message) live.push(message);
    for (const part of live.at(-1).parts) Object.assign(part, outputs?.[part.toolCallId]);
    live = await read(live, stream);
  }
  try {
    const both = { live: await validated(live), kept: await validated(kept) };
    return isDeepStrictEqual(both.live, both.kept) ? [] : [{ chat, ...both }];
  } catch (error) {
    return [{ chat, error: error.message, live, kept }];
  }
}

console.warn = console.error = () => {};
const found = [];
for (const [number, chat] of JSON.parse(await text(process.stdin)).entries()) found.push(...(await difference(chat, number)));
console.log(JSON.stringify(found));
