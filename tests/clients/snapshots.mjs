// Has an agent that reconnects the messages of one that never lost its connection? node snapshots.mjs PACKAGE
// < [{answers: [{messages, stream}], resumed}, ...]     `resumed` is the stream of a run without messages
// Prints [{chat, live, resumed}] for those that differ.
import { text } from "node:stream/consumers";
import { isDeepStrictEqual } from "node:util";

const { HttpAgent } = await import(process.argv[2]);

const agentFor = () => new HttpAgent({ url: "http://chat.test", threadId: "t1" });

async function run(agent, stream) {
  globalThis.fetch = async () => new Response(stream, { headers: { "content-type": "text/event-stream" } });
  let told;
  await agent.runAgent({}, { onRunErrorEvent: ({ event }) => void (told = event.message) }).catch((error) => {
    if (!told || !error.message.includes(told)) throw error;
  });
}

/** How a tool failed and how long it took are not kept; nor where the page puts its own results, and that they failed. */
function comparable(messages, ownResults) {
  const copies = JSON.parse(JSON.stringify(messages));
  const own = copies.filter((message) => ownResults.has(message.id)).map((message) => message.toolCallId);
  const others = copies.filter((message) => !ownResults.has(message.id));
  for (const { metadata } of others) {
    if (!metadata) continue;
    if (metadata.winterbourne.status !== "completed") metadata.winterbourne.status = "failed";
    delete metadata.winterbourne.durationMs;
  }
  return { own: own.sort(), others };
}

console.warn = console.error = () => {};
const found = [];
for (const [chat, { answers, resumed }] of JSON.parse(await text(process.stdin)).entries()) {
  const live = agentFor();
  const ownResults = new Set();
  for (const { messages, stream } of answers) {
    for (const message of messages) {
      if (message.role === "tool") ownResults.add(message.id);
      live.addMessage(message);
    }
    await run(live, stream);
  }
  const late = agentFor();
  await run(late, resumed);
  const both = { live: comparable(live.messages, ownResults), resumed: comparable(late.messages, ownResults) };
  if (!isDeepStrictEqual(both.live, both.resumed)) found.push({ chat, ...both });
}
console.log(JSON.stringify(found));
