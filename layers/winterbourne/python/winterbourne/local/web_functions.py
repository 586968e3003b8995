"""The door `web`: the conditions of Lambda Web Functions, around a server that is not AWS's own.

https://docs.aws.amazon.com/lambda/latest/dg/web-functions-http.html
"""

import time
from collections.abc import Mapping
from typing import ClassVar, Final

from winterbourne.local.event_door import Answer, json_answer
from winterbourne.local.function_config import FunctionConfig
from winterbourne.local.http_door import HttpDoor, Pairs
from winterbourne.local.http_server import Exchange
from winterbourne.local.invocation import make_request_id
from winterbourne.override import override

__all__ = ["WebFunction"]

METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "OPTIONS", "DELETE"})
REMOVED: Final = frozenset({"connection", "keep-alive", "upgrade", "expect", "te", "trailer", "x-real-ip"})
REMOVED_PREFIXES: Final = ("proxy-", "lambda-web-", "x-http-method", "x-method-override")
ENDPOINT: Final = "prod"


class WebFunction(HttpDoor):
    """One environment: HTTP/1.1 only, the whole request before the response, which ends silently at the timeout."""

    setting: ClassVar = "web"
    grace_s: ClassVar = 1.0
    enforces_timeout: ClassVar = True

    @override
    @classmethod
    def variables(cls, function: FunctionConfig, user_environment: Mapping[str, str], address: str) -> dict[str, str]:
        """Of Lambda's variables those that are there; the names of function, log group and stream are not."""
        return {
            **super().variables(function, user_environment, address),
            "AWS_LAMBDA_HTTP_ENDPOINT": address,
            "AWS_LAMBDA_INITIALIZATION_TYPE": "native-http",
            "AWS_LAMBDA_PYTHON_ENTRYPOINT": f"asgi:{function.handler}",
            "AWS_LAMBDA_RUNTIME_API": "127.0.0.1:9001",
        }

    @override
    def answer_itself(self, exchange: Exchange) -> Answer | None:
        """What is refused: HTTP/1.0, other methods, an expectation."""
        refusals = (
            (exchange.http_version != "1.1", 505, "HTTP Version Not Supported"),
            (exchange.method not in METHODS, 400, "Bad Request"),
            (bool(exchange.header("expect")), 417, "Expectation Failed"),
        )
        return next((json_answer(status, message=text) for applies, status, text in refusals if applies), None)

    @override
    def request_headers(self, exchange: Exchange) -> Pairs:
        """Without what the platform removes, with its own; the last address that forwarded is that of the client."""
        kept = [
            (name, value)
            for name, value in exchange.headers
            if name not in REMOVED and not name.startswith(REMOVED_PREFIXES)
        ]
        others = [value for name, value in kept if name == "x-forwarded-for"]
        return [
            *(pair for pair in kept if pair[0] != "x-forwarded-for"),
            ("x-forwarded-for", ", ".join([*others, exchange.peer])),
            ("lambda-web-request-id", make_request_id()),
            ("lambda-web-endpoint-name", ENDPOINT),
        ]

    @override
    def response_headers(self, headers: Pairs, request: Pairs) -> Pairs:
        """With the request's id, and where its log would be."""
        request_id = dict(request)["lambda-web-request-id"]
        stream = f"{time.strftime('%Y/%m/%d', time.gmtime())}/local"
        return [*headers, ("lambda-web-request-id", request_id), ("lambda-web-logstream", stream)]

    @override
    def late(self) -> Answer:
        """With the type of the error."""
        status, headers, body = json_answer(504, message="Gateway Timeout")
        return status, [*headers, ("lambda-web-error-type", "Runtime.RequestTimeout")], body
