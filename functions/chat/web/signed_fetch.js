// fetch for a function URL behind CloudFront with origin access control.
//
// CloudFront signs the request to the function URL but does not read its body, so the sender of a POST or PUT has to
// name the body's SHA-256 in `x-amz-content-sha256`, or Lambda refuses the signature. A function URL without
// CloudFront ignores the header, so it is always sent: there is nothing to set.
// https://docs.aws.amazon.com/AmazonCloudFront/latest/DeveloperGuide/private-content-restricting-access-to-lambda.html
//
// This file stands alone: copy it into a frontend of your own and pass `signedFetch` wherever it takes a `fetch`.

/** Like fetch, for bodies that are text or bytes. */
export async function signedFetch(resource, init = {}) {
  const method = (init.method ?? "GET").toUpperCase();
  // Browsers have crypto.subtle on https and on localhost; nothing signs requests to a page from anywhere else.
  if (method === "GET" || method === "HEAD" || !globalThis.crypto?.subtle) return fetch(resource, init);
  const body = bytes(init.body ?? "");
  const headers = new Headers(init.headers);
  headers.set("x-amz-content-sha256", await sha256(body));
  return fetch(resource, { ...init, body, headers });
}

/** The SHA-256 of bytes in lower-case hexadecimal. */
export async function sha256(body) {
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", body));
  return Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

function bytes(body) {
  if (typeof body === "string") return new TextEncoder().encode(body);
  if (body instanceof ArrayBuffer || ArrayBuffer.isView(body)) return body;
  throw new TypeError("signedFetch takes a body of text or bytes");
}
