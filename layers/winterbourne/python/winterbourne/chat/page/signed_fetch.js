// fetch for a function URL behind CloudFront with origin access control.
//
// CloudFront signs the request but does not read its body, so who sends a POST or PUT has to name the body's SHA-256 in
// `x-amz-content-sha256`, or Lambda refuses it. Without CloudFront the header means nothing, so it is always sent.
// https://docs.aws.amazon.com/AmazonCloudFront/latest/DeveloperGuide/private-content-restricting-access-to-lambda.html
//
// The file stands alone: copy it into a frontend of your own and give it `signedFetch` for its `fetch`.

/** Like fetch, for bodies that are text or bytes. */
export async function signedFetch(resource, init = {}) {
  const method = (init.method ?? "GET").toUpperCase();
  // Browsers have crypto.subtle on https and on localhost; nothing signs requests from elsewhere.
  if (method === "GET" || method === "HEAD" || !globalThis.crypto?.subtle) return fetch(resource, init);
  const { body: given = "" } = init;
  const body = typeof given === "string" ? new TextEncoder().encode(given) : given;
  const headers = new Headers(init.headers);
  headers.set("x-amz-content-sha256", await sha256(body));
  return fetch(resource, { ...init, body, headers });
}

async function sha256(body) {
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", body));
  return Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
