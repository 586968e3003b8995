// What shows the server who asks: nothing, unless key.js or sign_in.js says otherwise. A page has one of them at most.

import { config } from "./config.js";
import { t } from "./strings.js";

export const credentials = {
  /** Headers for each request. */
  headers: async () => ({}),

  /** After a 401: whether there is something new to try with. `isAgain`: what there is has just been refused. */
  renew: async () => false,

  /** Label of a button that asks for others, by `renew(true)`; empty if this page cannot. */
  changeLabel: "",

  /** Why the server knows nobody here, for the reader. */
  refusal: t(`access.${config.signIn === null ? "unreachable" : "closed"}`),
};
