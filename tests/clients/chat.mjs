// The logic of `useChat` without React: `chats(VERSION, URL)` returns a function that makes chats.
import { counted } from "./cuts.mjs";

/** The state that React keeps. */
export class State {
  status = "ready";
  error;
  snapshot = structuredClone;
  constructor(messages) {
    this.messages = messages;
  }
  pushMessage(message) {
    this.messages = [...this.messages, message];
  }
  popMessage() {
    this.messages = this.messages.slice(0, -1);
  }
  replaceMessage(index, message) {
    this.messages = this.messages.map((old, at) => (at === index ? structuredClone(message) : old));
  }
}

const prepareSendMessagesRequest = ({ id, messages, trigger, messageId }) => ({
  body: { id, message: messages.at(-1), trigger, messageId },
});

export async function chats(version, base) {
  const { AbstractChat, DefaultChatTransport } = await import(version);
  class Chat extends AbstractChat {
    /** Messages of a page that was loaded are `loaded`. */
    constructor(id, loaded = []) {
      const seen = { bytes: 0 };
      const api = `${base}/api/chat`;
      const transport = new DefaultChatTransport({ api, fetch: counted(seen), prepareSendMessagesRequest });
      super({ id, state: new State(loaded), transport });
      this.seen = seen;
    }
  }
  return (...parameters) => new Chat(...parameters);
}
