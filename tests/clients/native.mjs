// The native format as eventsource-parser reads it from fetch: node native.mjs URL QUESTION. Prints the frames as JSON.
import { EventSourceParserStream } from "eventsource-parser/stream";

const [base, content] = process.argv.slice(2);
const response = await fetch(`${base}/chat`, {
  method: "POST",
  headers: { "content-type": "application/json" },
  body: JSON.stringify({ messages: [{ role: "user", content }] }),
});
const frames = [];
const events = response.body.pipeThrough(new TextDecoderStream()).pipeThrough(new EventSourceParserStream());
for await (const { data } of events) frames.push(JSON.parse(data));
console.log(JSON.stringify(frames));
