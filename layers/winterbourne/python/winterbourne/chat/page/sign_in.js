// Signing in with whoever issues the tokens: an authorization code with PKCE, then refreshed ones. Kept for this tab.

import { askForAccess, forgetButton } from "./access_dialog.js";
import { config } from "./config.js";
import { credentials } from "./credentials.js";
import { button } from "./dom.js";
import { t } from "./strings.js";

const EARLY_MS = 60_000; // by which tokens are refreshed before they expire
const { authorizationEndpoint, tokenEndpoint, endSessionEndpoint, clientId, scope, audience } = config.signIn;
const address = location.origin + location.pathname; // the issuer knows the page by it
const question = document.getElementById("question");
const signInButton = button(t("signIn.accept"), () => begin(), { class: "strong" });

let refreshing;
let tokens = {};

const read = (name) => JSON.parse(sessionStorage.getItem(`winterbourne.${name}`) ?? "{}");
const keep = (name, value) => sessionStorage.setItem(`winterbourne.${name}`, JSON.stringify(value));

function use(given) {
  tokens = given;
  forgetButton.hidden = !tokens.access_token;
  signInButton.hidden = !forgetButton.hidden;
  keep("tokens", tokens);
}

// The state ties the answer to this tab, the verifier the code, the nonce the tokens.
async function begin(options) {
  const [state, verifier, nonce] = [random(), random(), random()];
  const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(verifier));
  keep("signIn", { state, verifier, nonce, from: location.href, draft: question.value });
  go(authorizationEndpoint, {
    response_type: "code", client_id: clientId, redirect_uri: address, scope, state, nonce,
    code_challenge: base64url(new Uint8Array(digest)), code_challenge_method: "S256",
    ...audience !== clientId && { audience }, // Auth0 asks for it
    ...options,
  });
}

function go(endpoint, parameters) {
  const url = new URL(endpoint);
  for (const [name, value] of Object.entries(parameters)) url.searchParams.set(name, value);
  location.assign(url);
}

const random = () => base64url(crypto.getRandomValues(new Uint8Array(32)));

function base64url(bytes) {
  return btoa(String.fromCharCode(...bytes)).replace(/[+/=]/g, (sign) => ({ "+": "-", "/": "_" })[sign] ?? "");
}

// The page is again as it was left, and there are tokens for the code.
async function comeBack() {
  const answer = new URLSearchParams(location.search);
  if (!answer.has("state")) return;
  const { state, verifier, nonce, from, draft } = read("signIn");
  const [code, isOurs] = [answer.get("code"), answer.get("state") === state];
  keep("signIn", {}); // it is good for one answer
  history.replaceState(null, "", isOurs ? from : address);
  if (isOurs && draft) restore(draft);
  const fields = { grant_type: "authorization_code", code, redirect_uri: address, code_verifier: verifier };
  if (isOurs && code && await fetchTokens(fields, nonce).catch(() => false) || tokens.access_token) return;
  prompt(answer.get("error") === "access_denied" ? "denied" : "failed");
}

function restore(draft) {
  question.value ||= draft;
  question.dispatchEvent(new Event("input")); // it gets its height
}

// Resolves to whether there are new tokens; rejects if the issuer cannot be asked.
async function fetchTokens(fields, nonce) {
  const response = await fetch(tokenEndpoint, { method: "POST", body: new URLSearchParams({ client_id: clientId, ...fields }) });
  if (response.status >= 500) throw new Error("the issuer fails");
  const given = response.ok ? await response.json() : {};
  const isGood = response.ok && (!nonce || claims(given.id_token).nonce === nonce);
  use(isGood ? { ...tokens, ...given, expiresAt: Date.now() + (given.expires_in ?? 300) * 1000 } : {});
  return isGood;
}

function refresh() {
  const { refresh_token } = tokens;
  if (!refresh_token) return false;
  return refreshing ??= fetchTokens({ grant_type: "refresh_token", refresh_token }).finally(() => { refreshing = null; });
}

function claims(token) {
  try {
    return JSON.parse(atob(token.split(".")[1].replaceAll("-", "+").replaceAll("_", "/")));
  } catch {
    return {}; // it is not for the page to read
  }
}

// Not every issuer's access tokens are for the chat: where they are for another service, the ID token is.
function bearer() {
  const isForChat = (token) => [claims(token).aud].flat().includes(audience);
  return [tokens.access_token, tokens.id_token].find(isForChat) ?? tokens.access_token;
}

function prompt(reason, options) {
  // What was asked is in the composer again when the page is left.
  askForAccess("signIn", t(`signIn.${reason}`), () => setTimeout(begin, 0, options));
  return false;
}

async function signOut() {
  const { id_token } = tokens;
  sessionStorage.clear();
  if (!endSessionEndpoint) return location.replace(address);
  // Cognito has its own name for the last one.
  go(endSessionEndpoint, { client_id: clientId, ...id_token && { id_token_hint: id_token }, post_logout_redirect_uri: address, logout_uri: address });
}

document.querySelector(".head").append(signInButton);
forgetButton.append(t("signIn.out"));
forgetButton.addEventListener("click", signOut);
use(read("tokens"));
const isBack = comeBack();

Object.assign(credentials, {
  async headers() {
    await isBack;
    if (tokens.expiresAt < Date.now() + EARLY_MS) await refresh();
    // CloudFront replaces `authorization`.
    return tokens.access_token ? { authorization: `Bearer ${bearer()}`, "x-api-key": bearer() } : {};
  },

  async renew(isAgain) {
    if (isAgain) return prompt("other", { prompt: "login" });
    const wasIn = tokens.access_token;
    return await refresh() || prompt(wasIn ? "expired" : "reason");
  },

  changeLabel: t("signIn.change"),
  refusal: t("signIn.refused"),
});
