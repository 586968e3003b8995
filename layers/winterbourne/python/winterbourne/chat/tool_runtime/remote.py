"""Remote tools: `@remote_tool("function-name")` declares a tool that another Lambda function runs.

Both sides declare the same signature, so the model's arguments are validated before anything is sent. The call is a
signed request to Lambda's API over the shared connection pool, without an SDK client. The other side is `tool_worker`,
or any function that accepts the same payload.
https://docs.aws.amazon.com/lambda/latest/api/API_Invoke.html
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, Final
from urllib.parse import quote

import httpx
import msgspec
import orjson
from msgspec import Meta
from msgspec.structs import replace

from winterbourne.chat.errors import CredentialsMissing, ToolError, ToolUnavailable
from winterbourne.chat.infra import http_pool
from winterbourne.chat.infra.sigv4 import sign
from winterbourne.chat.tool_runtime.context import ToolContext
from winterbourne.chat.tool_runtime.declaration import Function, Tool, tool
from winterbourne.chat.tool_runtime.service_errors import translate_errors

if TYPE_CHECKING:
    from typing import Unpack

    from winterbourne.chat.tool_runtime.option_arguments import OptionArguments

__all__ = ["MAX_PAYLOAD_BYTES", "RemoteAnswer", "RemoteCall", "remote_tool"]

# For the request and the response of a synchronous invocation:
# https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
MAX_PAYLOAD_BYTES: Final = 6 * 1024 * 1024

LAMBDA_API_SETTINGS: Final = ("AWS_REGION", "AWS_ENDPOINT_URL_LAMBDA")
"""Settings that determine the endpoint of Lambda's API."""


class RemoteCall(msgspec.Struct, frozen=True):
    """The request payload.

    Attributes:
        tool: The tool's name in the other function.
        arguments: The model's arguments, validated.
        timeout_s: How long the caller waits for the answer.
        request_id: Of the invocation that calls, for the other function's log.
        caller: Who made the request; empty if unknown or if all callers share the tool's results.
    """

    tool: str
    arguments: Any
    timeout_s: Annotated[float, Meta(gt=0)]
    request_id: str = ""
    caller: str = ""


class RemoteAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The response payload: the tool's result as JSON text, or an error message for the model."""

    content: str
    is_error: bool = False


def remote_tool(function_name: str, **options: "Unpack[OptionArguments]") -> Callable[[Function], Tool]:
    """Declare a tool that runs in another Lambda function.

    Args:
        function_name: Name, partial ARN or ARN; or, in braces like `{TOOL_WORKER_FUNCTION}`, the setting that holds it.
            While that is not set, the tool is not offered.
        **options: Those of `tool`; they hold in the chat.

    Returns:
        A decorator for a typed function with a docstring, which declares the tool for the model; its body is never run.

    Raises:
        InvalidToolDeclaration: As for `tool`.
    """
    setting = function_name[1:-1] if function_name.startswith("{") else ""
    options["needs"] = (*options.get("needs", ()), *([setting] if setting else []))

    def declare(function: Function) -> Tool:
        declared = replace(tool(**options)(function), takes_context=True)

        async def call(arguments: Any, context: ToolContext) -> Any:
            caller = "" if declared.is_cache_shared else context.caller
            payload = RemoteCall(declared.name, arguments, context.remaining_s, context.request_id, caller)
            return await _invoke(context.setting(setting) if setting else function_name, payload, context)

        changes = {"optional_settings": LAMBDA_API_SETTINGS, "offered_if": setting, "function": None}
        return replace(declared, call=call, blocking=False, **changes)

    return declare


async def _invoke(target: str, remote_call: RemoteCall, context: ToolContext) -> Any:
    # In an ARN, the region is that of the function, which no other region's API has.
    region = target.split(":")[3] if target.startswith("arn:") else context.setting("AWS_REGION")
    request = _build_request(target, region, remote_call, context)
    with translate_errors("tool's function"):
        try:
            await sign(request, "lambda", region)
        except CredentialsMissing as error:
            raise ToolError(f"The tool's function cannot be called: {error}.") from None
        response = await context.http.send(request, stream=True)
        return _parse_response(response, await http_pool.read_body(response, MAX_PAYLOAD_BYTES))


def _build_request(target: str, region: str, remote_call: RemoteCall, context: ToolContext) -> httpx.Request:
    payload = msgspec.json.encode(remote_call)
    if len(payload) > MAX_PAYLOAD_BYTES:
        raise ToolError(f"The arguments have {len(payload)} bytes; the tool's function accepts {MAX_PAYLOAD_BYTES}.")
    # https://docs.aws.amazon.com/general/latest/gr/lambda-service.html
    domain = "amazonaws.com.cn" if region.startswith("cn-") else "amazonaws.com"
    endpoint = context.setting("AWS_ENDPOINT_URL_LAMBDA") or f"https://lambda.{region}.{domain}"
    url = f"{endpoint}/2015-03-31/functions/{quote(target, safe='')}/invocations"
    # No read timeout: a tool may take long, and its own timeout ends it.
    timeout = httpx.Timeout(context.http.timeout.connect, read=None)
    headers = {"content-type": "application/json"}
    return context.http.build_request("POST", url, content=payload, headers=headers, timeout=timeout)


def _parse_response(response: httpx.Response, body: bytes) -> Any:
    if response.status_code == 429 or response.status_code >= 500:
        raise ToolUnavailable(f"The tool's function is busy or broken (HTTP {response.status_code}).")
    if response.status_code != 200:
        raise ToolError(f"The tool's function cannot be called (HTTP {response.status_code}).")
    if "x-amz-function-error" in response.headers:
        raise ToolUnavailable("The tool's function failed while it ran; its log has the details.")
    answer = msgspec.json.decode(body, type=RemoteAnswer)
    if answer.is_error:
        raise ToolError(answer.content)
    return orjson.loads(answer.content)
