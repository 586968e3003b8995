// Tools that ask a person first, as useChat has them: node approvals.mjs ai|ai6|ai5 URL
// Prints {scenario: what came of it} as JSON.
import { randomUUID } from "node:crypto";
import { State } from "./chat.mjs";

const [version, base] = process.argv.slice(2);
const ai = await import(version);

class Chat extends ai.AbstractChat {
  /** `isKept` sends one message and the id; `canAsk` says that the page knows approvals. */
  constructor({ id = randomUUID(), messages = [], isKept = false, canAsk = true, fails = false } = {}) {
    const posts = [];
    const body = canAsk ? { approvals: true } : {};
    const oneMessage = ({ id, messages, trigger, messageId }) => ({
      body: { ...body, id, message: messages.at(-1), trigger, messageId },
    });
    super({
      id,
      state: new State(messages),
      sendAutomaticallyWhen: ai.lastAssistantMessageIsCompleteWithApprovalResponses,
      transport: new ai.DefaultChatTransport({
        api: `${base}/api/chat`,
        body,
        prepareSendMessagesRequest: isKept ? oneMessage : undefined,
        fetch: (url, init) => {
          posts.push(init.method);
          return fails && posts.length > 1 ? new Response("No.", { status: 500 }) : fetch(url, init);
        },
      }),
    });
    this.posts = posts;
  }

  get asked() {
    return this.lastMessage.parts.filter((part) => part.state === "approval-requested");
  }

  async decide(part, approved, reason) {
    await this.addToolApprovalResponse({ id: part.approval.id, approved, reason });
    const until = Date.now() + 20_000; // sent by itself, if that was the last
    do await new Promise((resolve) => setTimeout(resolve, 50));
    while (this.status !== "ready" && this.status !== "error" && Date.now() < until);
  }

  get outcome() {
    const { status, error, posts, messages } = this;
    const [parts, roles] = [this.lastMessage.parts, messages.map((message) => message.role)];
    return { status, error: error?.message, posts: posts.length, parts, roles };
  }
}

async function decided(options, approved, reason) {
  const chat = new Chat(options);
  await chat.sendMessage({ text: "please pay 5" });
  const asked = chat.asked;
  await chat.decide(asked[0], approved, reason);
  const problem = await ai.safeValidateUIMessages({ messages: chat.messages });
  return { ...chat.outcome, asked, isValid: problem.success };
}

async function two() {
  const chat = new Chat();
  await chat.sendMessage({ text: "please pay 5 and send_note 2" });
  const [pay, note] = chat.asked;
  await chat.decide(pay, true);
  const postsBetween = chat.posts.length;
  await chat.decide(note, false, "No notes");
  return { ...chat.outcome, postsBetween };
}

async function twice() {
  const chat = new Chat();
  await chat.sendMessage({ text: "please pay 5" });
  const [pay] = chat.asked;
  await Promise.all([chat.decide(pay, true), chat.decide(pay, true)]);
  return chat.outcome;
}

async function reloaded() {
  const first = new Chat({ isKept: true });
  await first.sendMessage({ text: "please pay 5" });
  const kept = await (await fetch(`${base}/api/chat/${first.id}`)).json();
  const chat = new Chat({ id: first.id, messages: kept.messages, isKept: true });
  const isValid = (await ai.safeValidateUIMessages({ messages: kept.messages })).success;
  await chat.decide(chat.asked[0], true);
  const after = await (await fetch(`${base}/api/chat/${first.id}`)).json();
  return { ...chat.outcome, isValid, kept: after.messages };
}

/** The answer that asks, or that goes on after a no, sent again to a page that comes back. */
async function resumed(isDenied) {
  const first = new Chat({ isKept: true });
  await first.sendMessage({ text: "please pay 5" });
  if (isDenied) await first.decide(first.asked[0], false, "Too much");
  const chat = new Chat({ id: first.id, messages: first.messages.slice(0, 1), isKept: true });
  await chat.resumeStream();
  const isValid = (await ai.safeValidateUIMessages({ messages: chat.messages })).success;
  return { ...chat.outcome, isValid };
}

async function notAsked() {
  const chat = new Chat({ canAsk: false, isKept: true });
  await chat.sendMessage({ text: "please pay 5" });
  const again = new Chat({ id: chat.id, messages: chat.messages.slice(0, 1), isKept: true, canAsk: false });
  await again.resumeStream();
  return { ...chat.outcome, again: again.outcome };
}

const all = {
  yes: () => decided({}, true),
  no: () => decided({}, false, "Too much"),
  keptYes: () => decided({ isKept: true }, true, "Fine"),
  keptNo: () => decided({ isKept: true }, false, "Too much"),
  two,
  twice,
  failing: () => decided({ fails: true }, true),
  reloaded,
  resumed: () => resumed(false),
  resumedNo: () => resumed(true),
};
const scenarios = version === "ai5" ? { notAsked } : { ...all, notAsked };
const outcomes = {};
for (const [name, run] of Object.entries(scenarios)) outcomes[name] = await run(); // their runs are counted
console.log(JSON.stringify(outcomes));
process.exit();
