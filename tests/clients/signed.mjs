// Do clients that are given `signedFetch` name the digest of the body they send? Prints one answer per client.
import { createHash } from "node:crypto";
import { HttpAgent } from "@ag-ui/client";
import { DefaultChatTransport } from "ai";
import { signedFetch } from "../../layers/winterbourne/python/winterbourne/chat/page/signed_fetch.js";

const answers = [];
globalThis.fetch = async (_, { headers, body }) => {
  const digest = createHash("sha256").update(body).digest("hex");
  answers.push(new Headers(headers).get("x-amz-content-sha256") === digest);
  return new Response(`data: {"type":"RUN_STARTED","threadId":"t","runId":"r"}\n\n`);
};

const messages = [{ id: "1", role: "user", parts: [{ type: "text", text: "Grüße" }] }];
const transport = new DefaultChatTransport({ api: "http://chat.test", fetch: signedFetch });
await transport.sendMessages({ trigger: "submit-message", chatId: "c", messages });
await new HttpAgent({ url: "http://chat.test", fetch: signedFetch }).runAgent();
console.log(JSON.stringify(answers));
