"""CORS for doors that leave it to the chat: the answer that `template.yaml` lets a function URL give. Pure."""

from collections.abc import Set as AbstractSet
from typing import Final

from winterbourne.chat.http.request import Request

__all__ = ["PREFLIGHT", "RESPONSE", "cors_headers", "is_preflight"]

ALLOWED_HEADERS: Final = (
    "authorization,content-type,x-amz-content-sha256,x-api-key,x-amz-date,x-amz-security-token,last-event-id,mcp-method,"
    "mcp-name,mcp-protocol-version,traceparent,tracestate,user-agent,x-stainless-arch,x-stainless-helper-method,"
    "x-stainless-lang,x-stainless-os,x-stainless-package-version,x-stainless-retry-count,x-stainless-runtime,"
    "x-stainless-runtime-version,x-stainless-timeout"
)

PREFLIGHT: Final = {
    "access-control-allow-methods": "GET,POST,PATCH,DELETE",
    "access-control-allow-headers": ALLOWED_HEADERS,
    "access-control-max-age": "86400",
}

EXPOSED_HEADERS: Final = "retry-after,x-amzn-requestid,x-error-code,x-request-id,x-vercel-ai-ui-message-stream"

RESPONSE: Final = {"access-control-expose-headers": EXPOSED_HEADERS}


def is_preflight(request: Request) -> bool:
    """Whether a browser asks what it may send."""
    return request.method == "OPTIONS" and {"origin", "access-control-request-method"} <= request.headers.keys()


def cors_headers(origins: AbstractSet[str], request: Request) -> dict[str, str]:
    """The headers of a response by which a browser shows it to the page that asked; none if that may not call."""
    origin = request.headers.get("origin", "")
    if not origin or not origins & {"*", origin}:
        return {}
    allowed = {"access-control-allow-origin": "*"} if "*" in origins else _allowing(origin)
    return allowed | (PREFLIGHT if is_preflight(request) else RESPONSE)


def _allowing(origin: str) -> dict[str, str]:
    return {"access-control-allow-origin": origin, "vary": "Origin"}
