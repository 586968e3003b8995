// fetch for a Lambda function URL behind CloudFront with origin access control.
//
// CloudFront does not sign bodies: Lambda refuses a POST or PUT without its SHA-256 in `x-amz-content-sha256`.
//
// Copy this file and use `signedFetch` in place of `fetch`.

const DIGEST = "x-amz-content-sha256";
const DIGEST_OF_NOTHING = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/** Like fetch. A stream is read whole first, for its digest. */
export async function signedFetch(resource, init = {}) {
  const method = (init.method ?? resource.method ?? "GET").toUpperCase();
  // crypto.subtle is missing on http, where no CloudFront signs.
  if (method === "GET" || method === "HEAD" || !globalThis.crypto?.subtle) return fetch(resource, init);
  // At once: a page that is being closed has no time for more.
  if (init.body == null && !(resource instanceof Request)) return fetchEmpty(resource, init);
  // Few browsers have streams in a Request.
  if (init.body instanceof ReadableStream) init = { ...init, body: await new Response(init.body).arrayBuffer() };
  const request = new Request(resource, init);
  const { headers } = request; // also a form's type
  const body = await request.arrayBuffer();
  headers.set(DIGEST, await sha256(body));
  return fetch(request, { body, headers });
}

function fetchEmpty(resource, init) {
  const headers = new Headers(init.headers);
  headers.set(DIGEST, DIGEST_OF_NOTHING);
  return fetch(resource, { ...init, headers });
}

async function sha256(bytes) {
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  return Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
