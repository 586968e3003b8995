// An issuer of tokens by another hand: certified OpenID Connect, with its own pages to sign in. Its first line of input
// says for whom, as JSON; its first line of output is its URL.

import { createServer } from "node:http";
import { createInterface } from "node:readline";

import Provider from "oidc-provider";

const server = createServer((request, response) => handle(request, response));
let handle = (_, response) => response.writeHead(503).end();
server.listen(0, "127.0.0.1", () => console.log(`http://127.0.0.1:${server.address().port}`));

createInterface({ input: process.stdin }).once("line", (line) => {
  const { page, client, audience } = JSON.parse(line);
  const issuer = `http://127.0.0.1:${server.address().port}`;
  const api = { scope: "chat", audience, accessTokenFormat: "jwt", jwt: { sign: { alg: "RS256" } } };
  const provider = new Provider(issuer, {
    clients: [{
      client_id: client,
      application_type: "native", // http on this machine
      token_endpoint_auth_method: "none",
      grant_types: ["authorization_code", "refresh_token"],
      redirect_uris: [page],
      post_logout_redirect_uris: [page],
    }],
    pkce: { required: () => true },
    clientBasedCORS: (_, origin) => origin === new URL(page).origin,
    issueRefreshToken: () => true,
    rotateRefreshToken: true,
    features: {
      // Where the chat is an API of its own; else tokens say nothing of it, and the ID token is for the client.
      resourceIndicators: {
        enabled: Boolean(audience),
        defaultResource: () => "https://chat.example",
        getResourceServerInfo: () => api,
        useGrantedResource: () => true,
      },
    },
  });
  handle = provider.callback();
});
