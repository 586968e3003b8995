// fetch for a Lambda function URL behind CloudFront with origin access control.
//
// CloudFront does not sign bodies: Lambda refuses a POST or PUT without its SHA-256 in `x-amz-content-sha256`.
//
// Copy this file and use `signedFetch` in place of `fetch`.

/** Like fetch. A stream is read whole first, for its digest. */
export async function signedFetch(resource, init = {}) {
  const method = (init.method ?? resource.method ?? "GET").toUpperCase();
  // crypto.subtle is missing on http, where no CloudFront signs.
  if (method === "GET" || method === "HEAD" || !globalThis.crypto?.subtle) return fetch(resource, init);
  // Few browsers have streams in a Request.
  if (init.body instanceof ReadableStream) init = { ...init, body: await new Response(init.body).arrayBuffer() };
  const request = new Request(resource, init);
  const { headers } = request; // also a form's type
  const body = await request.arrayBuffer();
  headers.set("x-amz-content-sha256", await sha256(body));
  return fetch(request, { body, headers });
}

async function sha256(bytes) {
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  return Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
