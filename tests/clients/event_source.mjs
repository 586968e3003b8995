// The native format with the standard's EventSource, which resumes by itself: node event_source.mjs URL < [{question, cuts}]
// Another client asks; this one reads the answer from its stream, and each of its connections is cut after as many bytes.
// Compared are the frames of the two.
import { randomUUID } from "node:crypto";
import { EventSource } from "eventsource";
import { EventSourceParserStream } from "eventsource-parser/stream";
import { cutAfter, main } from "./cuts.mjs";

const [base] = process.argv.slice(2);

/** Asks, and reads the whole answer; `onStart` is called once it has begun. */
async function post(conversation_id, content, onStart = () => {}) {
  const body = JSON.stringify({ conversation_id, messages: [{ role: "user", content }] });
  const headers = { "content-type": "application/json" };
  const response = await fetch(`${base}/chat`, { method: "POST", headers, body });
  const frames = [];
  let bytes = 0;
  const counting = new TransformStream({
    transform(chunk, controller) {
      bytes += chunk.length;
      controller.enqueue(chunk);
    },
  });
  const decoded = response.body.pipeThrough(counting).pipeThrough(new TextDecoderStream());
  for await (const { data } of decoded.pipeThrough(new EventSourceParserStream())) {
    if (!frames.length) onStart();
    frames.push(JSON.parse(data));
  }
  return { messages: frames, bytes };
}

/** Reads the stream of a conversation until its server says that there is no more. */
function read(id, cut) {
  const frames = [];
  const lastEventIds = [];
  const fetchAndCut = (url, init) => {
    lastEventIds.push(init.headers["Last-Event-ID"] ?? null);
    return fetch(url, { ...init, headers: { ...init.headers, ...cutAfter(cut) } });
  };
  const source = new EventSource(`${base}/chat/${id}/stream`, { fetch: fetchAndCut });
  source.onmessage = ({ data }) => frames.push(JSON.parse(data));
  return new Promise((resolve) => {
    source.onerror = ({ code }) => {
      if (source.readyState === EventSource.CLOSED) resolve({ status: code, messages: frames, lastEventIds });
    };
  });
}

async function interrupt(question, [cut]) {
  const id = randomUUID();
  let reading;
  const asked = await post(id, question, () => (reading = read(id, cut)));
  return { ...(await reading), expected: asked.messages };
}

await main((question) => post(randomUUID(), question), interrupt);
