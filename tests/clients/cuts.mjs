// Answers whose connection is broken again and again, and what has come of them in the end. The base URL is that of a
// proxy, which breaks a connection where its request says so.
import { text } from "node:stream/consumers";

const AT_ONCE = 6; // fewer if there are few cases: each environment of the function has to start first

/** The header by which the proxy breaks a connection after so many bytes of the response. */
export const cutAfter = (bytes) => ({ "x-cut-after": String(Math.max(1, Math.floor(bytes))) });

/** A `fetch` that calls a broken connection what Chromium calls it, and counts the bytes that came in `seen.bytes`. */
export const counted = (seen) => async (...request) => {
  const response = await fetch(...request);
  if (!response.body) return response;
  const reader = response.body.getReader();
  const pull = async (controller) => {
    try {
      const { done, value } = await reader.read();
      seen.bytes += value?.length ?? 0;
      done ? controller.close() : controller.enqueue(value);
    } catch {
      controller.error(new TypeError("network error"));
    }
  };
  return new Response(new ReadableStream({ pull }), { status: response.status, headers: response.headers });
};

/** Messages without their ids, of which each conversation has its own. */
export const withoutIds = (messages) => messages.map(({ id, ...message }) => message);

/**
 * For each case in the input, `{question, cuts}`, prints it with `expected`, what `ask(question)` returns as `messages`
 * beside its number of `bytes`, and with what `interrupt(question, cuts)` returns, which is given the cuts in bytes.
 */
export async function main(ask, interrupt) {
  const cases = JSON.parse(await text(process.stdin));
  const undisturbed = {};
  for (const { question } of cases) undisturbed[question] ??= await ask(question);
  const outcomes = [];
  const work = async () => {
    for (let next; (next = cases.pop()); ) {
      const { question, cuts } = next;
      const { messages, bytes } = undisturbed[question];
      const interrupted = await interrupt(question, cuts.map((fraction) => fraction * bytes));
      outcomes.push({ ...next, expected: messages, ...interrupted });
    }
  };
  await Promise.all(Array.from({ length: Math.min(AT_ONCE, Math.ceil(cases.length / 8)) }, work));
  process.stdout.write(JSON.stringify(outcomes), () => process.exit()); // clients keep timers and connections
}
