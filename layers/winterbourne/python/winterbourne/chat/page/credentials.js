// What shows the server who asks: nothing, unless key.js or sign_in.js says otherwise. A page has one of them at most.

import { config } from "./config.js";
import { byId } from "./dom.js";
import { t } from "./strings.js";

export const credentials = {
  /** Headers for each request. */
  headers: async () => ({}),

  /** After a 401: whether there is something new to try with. `isAgain`: what was new has just been refused. */
  renew: async () => false,

  /** Ask the reader for others, as `changeLabel` says, which is empty if this page cannot; whether there are others now. */
  change: async () => false,
  changeLabel: "",

  /** Why the server lets nobody in, for the reader. */
  refusal: t(`access.${config.signIn === null ? "unreachable" : "closed"}`),
};

/** The button at the drawer's end that ends the access. */
export const forgetButton = byId("forget");
