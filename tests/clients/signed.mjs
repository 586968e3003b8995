// Do clients that are given `signedFetch` name the digest of the body they send, and the body's type? Prints one answer
// for each client, then one for each kind of body.
import { createHash } from "node:crypto";
import { HttpAgent } from "@ag-ui/client";
import { DefaultChatTransport } from "ai";
import { signedFetch } from "../../layers/winterbourne/python/winterbourne/chat/page/signed_fetch.js";

const answers = [];
globalThis.fetch = async (_, { headers, body }) => {
  const digest = createHash("sha256").update(new Uint8Array(body)).digest("hex");
  answers.push(new Headers(headers).get("x-amz-content-sha256") === digest);
  return new Response(`data: {"type":"RUN_STARTED","threadId":"t","runId":"r"}\n\n`);
};

const messages = [{ id: "1", role: "user", parts: [{ type: "text", text: "Grüße" }] }];
const transport = new DefaultChatTransport({ api: "http://chat.test", fetch: signedFetch });
await transport.sendMessages({ trigger: "submit-message", chatId: "c", messages });
await new HttpAgent({ url: "http://chat.test", fetch: signedFetch }).runAgent();

const url = "http://chat.test/";
const post = (body, type) => [url, { method: "POST", body, headers: type && { "content-type": type } }];
const form = new FormData();
form.set("name", "Grüße");
const bodies = {
  "text/plain": post("Grüße", "text/plain"),
  "text/csv": post(new Blob(["a;b"], { type: "text/csv" })),
  "image/png": [new Request(url, { method: "POST", body: new Uint8Array([1, 2]), headers: { "content-type": "image/png" } })],
  "application/octet-stream": post(new Uint8Array([0, 1, 2, 3]).subarray(1, 3), "application/octet-stream"),
  "application/x-www-form-urlencoded;charset=UTF-8": post(new URLSearchParams({ a: "ü" })),
  "multipart/form-data": post(form),
  "text/html": post(new Blob(["<p>"]).stream(), "text/html"),
  "text/css": [new Request(url, { method: "PUT", body: "old" }), { body: "p {}", headers: { "content-type": "text/css" } }],
};
for (const [type, args] of Object.entries(bodies)) {
  let sent;
  globalThis.fetch = async (request, init) => void (sent = new Request(request, init));
  await signedFetch(...args);
  const digest = createHash("sha256").update(new Uint8Array(await sent.arrayBuffer())).digest("hex");
  const headers = sent.headers;
  answers.push(headers.get("x-amz-content-sha256") === digest && headers.get("content-type").startsWith(type));
}
console.log(JSON.stringify(answers));
