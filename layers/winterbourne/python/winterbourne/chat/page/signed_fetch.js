// fetch for a Lambda function URL behind CloudFront with origin access control.
//
// CloudFront signs requests but not their bodies, so Lambda refuses a POST or PUT without the body's SHA-256 in
// `x-amz-content-sha256`. Elsewhere the header is ignored, so it is always sent.
// https://docs.aws.amazon.com/AmazonCloudFront/latest/DeveloperGuide/private-content-restricting-access-to-lambda.html
//
// This file has no dependencies: copy it and use `signedFetch` in place of `fetch`.

/** Like fetch, for bodies that are text or bytes. */
export async function signedFetch(resource, init = {}) {
  const method = (init.method ?? "GET").toUpperCase();
  // Browsers have crypto.subtle on https and localhost only; no CloudFront signs elsewhere.
  if (method === "GET" || method === "HEAD" || !globalThis.crypto?.subtle) return fetch(resource, init);
  const { body = "" } = init;
  const bytes = typeof body === "string" ? new TextEncoder().encode(body) : body;
  const headers = new Headers(init.headers);
  headers.set("x-amz-content-sha256", await sha256(bytes));
  return fetch(resource, { ...init, body: bytes, headers });
}

async function sha256(bytes) {
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  return Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
