// Signing in with whoever issues the tokens: an authorization code with PKCE, then refreshed ones. Kept for this tab.

import { composer } from "./composer.js";
import { config, tabStorage } from "./config.js";
import { conversationList } from "./conversation_list.js";
import { credentials, forgetButton } from "./credentials.js";
import { button, on } from "./dom.js";
import { t } from "./strings.js";

const EARLY_MS = 60_000; // by which tokens are refreshed before they expire
const TOKENS_STORAGE = "winterbourne.tokens";

const { authorizationEndpoint, tokenEndpoint, endSessionEndpoint, clientId, scope, audience } = config.signIn;
const address = location.origin + location.pathname; // the issuer knows the page by it
const signInButton = button(t("signIn.in"), signIn, { class: "strong" });

let kept; // what the issuer gave, and `begun`, what was sent there
let refreshing = null;

function keepTokens(value) {
  kept = value;
  tabStorage.setItem(TOKENS_STORAGE, JSON.stringify(value));
  forgetButton.hidden = !value.access_token;
  signInButton.hidden = !forgetButton.hidden;
}

// The state ties the answer to this tab, the verifier the code, the nonce the tokens.
async function signIn() {
  if (!crypto.subtle) return composer.say(t("signIn.insecure"));
  const [state, nonce, id] = Array.from({ length: 3 }, () => crypto.randomUUID());
  const verifier = id + state;
  const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(verifier));
  const challenge = btoa(String.fromCharCode(...new Uint8Array(digest)));
  const wasIn = kept.access_token;
  keepTokens({ ...kept, begun: { state, nonce, verifier, from: location.href } });
  go(authorizationEndpoint, {
    client_id: clientId, redirect_uri: address, response_type: "code", scope, state, nonce,
    code_challenge: challenge.replaceAll("+", "-").replaceAll("/", "_").replace("=", ""), code_challenge_method: "S256",
    ...audience !== clientId && { audience }, // Auth0 asks for it
    ...wasIn && { prompt: "login" }, // as somebody else
  });
}

function go(endpoint, parameters) {
  const url = new URL(endpoint);
  for (const [name, value] of Object.entries(parameters)) url.searchParams.set(name, value);
  location.assign(url);
}

// From the issuer: the page is again as it was left.
async function takeAnswer() {
  const answer = new URLSearchParams(location.search);
  if (!answer.has("state")) return;
  const { begun = {}, ...others } = kept;
  keepTokens(others); // what was begun is good for one answer
  const isOurs = answer.get("state") === begun.state;
  history.replaceState(null, "", isOurs ? begun.from : address);
  const fields = { grant_type: "authorization_code", code: answer.get("code"), redirect_uri: address, code_verifier: begun.verifier };
  await (isOurs && fields.code && fetchTokens(fields, begun.nonce).catch(() => {}));
  if (!kept.access_token) composer.say(t("signIn.failed"));
}

// Resolves to whether there are new ones; rejects if the issuer cannot be asked.
async function fetchTokens(fields, nonce) {
  const response = await fetch(tokenEndpoint, { method: "POST", body: new URLSearchParams({ client_id: clientId, ...fields }) });
  if (response.status === 429 || response.status >= 500) throw new Error(response.statusText);
  const given = response.ok && await response.json();
  const isGood = given && (!nonce || claims(given.id_token).nonce === nonce);
  keepTokens(isGood ? { ...!nonce && kept, ...given, expiresAt: Date.now() + (given.expires_in ?? 300) * 1000 } : {});
  return isGood;
}

function refresh() {
  const { refresh_token } = kept;
  if (!refresh_token) return false;
  // Used twice, it would look stolen.
  return refreshing ??= fetchTokens({ grant_type: "refresh_token", refresh_token }).finally(() => { refreshing = null; });
}

// As long as a token is good, it does not matter that the issuer cannot be asked.
async function refreshEarly() {
  try {
    await refresh();
  } catch (error) {
    if (kept.expiresAt < Date.now()) throw error;
  }
}

function claims(token) {
  try {
    return JSON.parse(atob(token.split(".")[1].replaceAll("-", "+").replaceAll("_", "/")));
  } catch {
    return {}; // it is not for the page to read
  }
}

// Where access tokens are for another service than the chat, the ID token is for it.
function bearer() {
  const isForChat = (token) => [claims(token).aud].flat().includes(audience);
  return [kept.access_token, kept.id_token].find(isForChat) ?? kept.access_token;
}

async function signOut() {
  await conversationList.offerDeletion();
  tabStorage.clear();
  const hint = kept.id_token && { id_token_hint: kept.id_token };
  // Cognito has a name of its own for the address.
  go(endSessionEndpoint || address, endSessionEndpoint && {
    client_id: clientId, ...hint, post_logout_redirect_uri: address, logout_uri: address,
  });
}

document.querySelector(".head").append(signInButton);
forgetButton.textContent = t("signIn.out");
on(forgetButton, "click", signOut);
keepTokens(JSON.parse(tabStorage.getItem(TOKENS_STORAGE) ?? "{}"));
const isBack = takeAnswer();

Object.assign(credentials, {
  async headers() {
    await isBack;
    if (kept.expiresAt < Date.now() + EARLY_MS) await refreshEarly();
    // CloudFront replaces `authorization`.
    return kept.access_token ? { authorization: `Bearer ${bearer()}`, "x-api-key": bearer() } : {};
  },
  renew: async (isAgain) => !isAgain && refresh(),
  change: signIn,
  changeLabel: t("signIn.in"),
  refusal: t("signIn.refused"),
});
