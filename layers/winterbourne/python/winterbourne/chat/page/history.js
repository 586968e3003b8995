// Where conversations are kept: on the server, unless kept_here.js says otherwise.

import { conversationRequest, listConversations } from "./chat.js";

/** A conversation is {id, title, exchanges}; an exchange has a question and the frames of its answer. */
export const archive = {
  list: listConversations,
  get: (id, options) => conversationRequest("GET", id, options),
  rename: (id, title) => conversationRequest("PATCH", id, { body: { title } }),
  delete: (id, options) => conversationRequest("DELETE", id, options),

  /** Make sure that only this tab asks now; resolves to what ends that. */
  begin: async () => () => {},

  /** Keep what is new, soon or now. */
  async keep() {},

  /** What a request says of the conversation and its last question. */
  body: ({ exchanges }, isDecision) => ({ store: true, messages: isDecision ? [] : newOf(exchanges) }),

  /** Called with an error if they cannot be kept, and with the id of a conversation that another tab has changed. */
  onFailure() {},
  onChange() {},
};

// The last question, and those before it that the server may not know.
function newOf(exchanges) {
  const known = exchanges.findLastIndex(({ isUnsent }, index) => !isUnsent && index < exchanges.length - 1);
  return exchanges.slice(known + 1).map(({ message }) => message);
}

/** Add a frame to those of its answer. */
export function record(frames, frame) {
  const last = frames.at(-1);
  if (frame.delta && last?.type === frame.type) last.delta += frame.delta;
  else if (frame.status !== "progress") frames.push({ ...frame });
}
