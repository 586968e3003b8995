"""The door `agentcore`: the contract of Bedrock AgentCore Runtime, from both of its sides.

The service's side is `POST /runtimes/ARN/invocations`, which boto3's `invoke_agent_runtime` asks; the container's is
`POST /invocations` and `GET /ping`.
https://docs.aws.amazon.com/bedrock-agentcore/latest/devguide/runtime-http-protocol-contract.html
"""

import re
from typing import ClassVar, Final

from winterbourne.local.event_door import Answer, json_answer
from winterbourne.local.http_door import HttpDoor, Pairs
from winterbourne.local.http_server import Exchange
from winterbourne.local.invocation import make_request_id
from winterbourne.override import override

__all__ = ["AgentCoreRuntime"]

PREFIX: Final = "x-amzn-bedrock-agentcore-runtime-"
SESSION: Final = f"{PREFIX}session-id"
REQUEST: Final = f"{PREFIX}request-id"
PASSED: Final = frozenset(
    "content-type accept host content-length transfer-encoding authorization traceparent tracestate baggage"
    f" x-amzn-trace-id workloadaccesstoken x-amz-bedrock-agentcore-identity-wat {SESSION} {PREFIX}user-id".split()
)
"""Headers that the application gets, with the custom ones; `authorization` as if it were on the runtime's list."""

_INVOCATIONS: Final = re.compile(r"/invocations|/runtimes/[^/?]+/invocations(?:\?.*)?")


class AgentCoreRuntime(HttpDoor):
    """One session, whatever its callers name it. That a client has gone is not told: no page says that it is."""

    setting: ClassVar = "agentcore"
    tells_gone: ClassVar = False

    @override
    def answer_itself(self, exchange: Exchange) -> Answer | None:
        """One path reaches the application, beside the service's question whether it is well."""
        asked = exchange.method, exchange.target
        if asked == ("GET", "/ping") or (asked[0] == "POST" and _INVOCATIONS.fullmatch(asked[1])):
            return None
        return json_answer(404, message="The runtime has POST /invocations and GET /ping.")

    @override
    def target(self, exchange: Exchange) -> str:
        """`/invocations`, by whatever path the service was asked."""
        return exchange.target if exchange.method == "GET" else "/invocations"

    @override
    def request_headers(self, exchange: Exchange) -> Pairs:
        """Of the client's those that are passed, and what names session and request."""
        kept = [(n, v) for n, v in exchange.headers if n in PASSED or n.startswith(f"{PREFIX}custom-")]
        session = [] if SESSION in dict(kept) else [(SESSION, make_request_id())]
        return [*kept, *session, (REQUEST, make_request_id())]

    @override
    def response_headers(self, headers: Pairs, request: Pairs) -> Pairs:
        """With the session, which a client names in its next request."""
        return [*headers, (SESSION, dict(request)[SESSION])]
