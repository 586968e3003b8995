"""Declare a tool: one typed function with a docstring and a decorator.

    @tool(timeout_s=5)
    async def get_weather(city: str, days: Annotated[int, Meta(ge=1, le=7)] = 1) -> Forecast:
        ...  # with a docstring: it is what the model reads

Name, description and schema come from the function; arguments are checked before it is called. It may be async or
not (then it runs in a thread), or an async generator: its items are progress, its last one is the result. Tools of
other origins make their own `Tool` with a reader and an async call.
"""

import inspect
import re
import typing
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Annotated, Any, Final, TypeAlias, overload

import msgspec
from msgspec import Meta

from winterbourne.chat.core.messages import ToolSchema
from winterbourne.chat.errors import InvalidToolDeclaration
from winterbourne.chat.tool_runtime import docstring, schema
from winterbourne.chat.tool_runtime.context import ToolContext
from winterbourne.chat.tool_runtime.progress import stream_progress
from winterbourne.chat.tool_runtime.validation import ArgumentValidator

__all__ = ["BatchCall", "Call", "Function", "Tool", "ToolContext", "ToolOptions", "tool"]

Function: TypeAlias = Callable[..., Any]
Call: TypeAlias = Callable[[Any, ToolContext], Awaitable[Any]]
BatchCall: TypeAlias = Callable[[Sequence[Any], ToolContext], Awaitable[Sequence[Any]]]

_TOOL_NAME: Final = re.compile(r"[a-zA-Z0-9_-]{1,64}")  # what all providers take

Seconds = Annotated[float, Meta(gt=0)]
Count = Annotated[int, Meta(ge=1)]


class ToolOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a tool is run. Times are in seconds.

    Attributes:
        timeout_s: How long one call may take; None means TOOL_EXECUTION_TIMEOUT.
        retries: How often a failed call is tried again. Only for tools that are safe to repeat.
        cache_ttl_s: How long a result may serve identical calls; identical calls under way share one run, also at 0.
            None means that every call runs.
        cache_per_caller: Whether results are kept apart by caller. None means that they are where the tool takes a
            ToolContext, which says who asks; with False no caller is known to it.
        batch_window_s: How long the first call of a turn waits for others, in tools with a batch form.
        breaker: The name of its circuit breaker: the tool's own name, or a host that several tools share.
        max_result_bytes: More JSON than this is cut; None means TOOL_MAX_RESULT_BYTES.
        concurrency: How many calls may run at once in this process.
        needs: Settings that must be present, by the names of their variables.
    """

    timeout_s: Seconds | None = None
    retries: Annotated[int, Meta(ge=0, le=10)] = 0
    cache_ttl_s: Annotated[float, Meta(ge=0)] | None = None
    cache_per_caller: bool | None = None
    batch_window_s: Seconds = 0.01
    breaker: str = ""
    max_result_bytes: Annotated[int, Meta(ge=256)] | None = None
    concurrency: Count | None = None
    needs: tuple[str, ...] = ()


class Tool(msgspec.Struct, frozen=True, kw_only=True):
    """A tool of any origin, as the runner knows it.

    Attributes:
        read: JSON text to checked arguments; raises ToolError with a sentence for the model.
        call: Runs it once; raises what went wrong.
        batch: Runs many calls as one; one result, or an exception in its place, for each, in order.
        blocking: Whether `call` occupies a thread.
        takes_context: Whether what `call` returns may depend on its context, and so on who asks.
        reads: Settings that `call` may read beside those it `needs`, by the names of their variables.
        function: What was decorated, for tests of the function itself; None for tools of other origins.
    """

    name: str
    description: str
    parameters: dict[str, Any]
    validate_arguments: Callable[[str], Any]
    call: Call
    batch: BatchCall | None = None
    options: ToolOptions = ToolOptions()
    strict: bool = False
    blocking: bool = False
    takes_context: bool = True
    optional_settings: tuple[str, ...] = ()
    function: Function | None = None

    @property
    def is_cache_shared(self) -> bool:
        """Whether identical calls of all callers have one result."""
        per_caller = self.options.cache_per_caller
        return self.options.cache_ttl_s is not None and not (self.takes_context if per_caller is None else per_caller)

    @property
    def schema(self) -> ToolSchema:
        """The tool as a model is told of it."""
        parameters = schema.strict_form(self.parameters) if self.strict else self.parameters
        return ToolSchema(self.name, self.description, parameters, self.strict)


@overload
def tool(function: Function, /) -> Tool: ...


@overload
def tool(
    *,
    name: str = "",
    strict: bool = False,
    batch: Function | None = None,
    timeout_s: float | None = None,
    retries: int = 0,
    cache_ttl_s: float | None = None,
    cache_per_caller: bool | None = None,
    batch_window_s: float = 0.01,
    breaker: str = "",
    max_result_bytes: int | None = None,
    concurrency: int | None = None,
    needs: Sequence[str] = (),
) -> Callable[[Function], Tool]: ...


def tool(
    function: Function | None = None,
    /,
    *,
    name: str = "",
    strict: bool = False,
    batch: Function | None = None,
    **options: Any,
) -> Tool | Callable[[Function], Tool]:
    """Make a function a tool; see `ToolOptions` for the options.

    Args:
        function: Async, plain, or an async generator. A parameter of type ToolContext gets the call's context.
        name: Instead of the function's own.
        strict: Whether the model gets the strict form of the schema.
        batch: Async function of a list of arguments (objects with the parameters as attributes) and, if it asks for
            it, the context, that answers many calls at once: one result, or an exception, for each, in order.
        **options: The fields of ToolOptions.

    Raises:
        ToolMisdeclared: The function, its name or its options cannot make a tool.
    """

    def declare(function: Function) -> Tool:
        return _make_tool(name or function.__name__, function, batch, _validate_options(name, options), strict=strict)

    return declare(function) if function else declare


def _validate_options(name: str, options: Mapping[str, Any]) -> ToolOptions:
    try:
        return msgspec.convert({**options, "needs": tuple(options.get("needs", ()))}, ToolOptions)
    except msgspec.ValidationError as error:
        raise InvalidToolDeclaration(f"The options of tool {name} cannot be: {error}.") from None


def _make_tool(name: str, function: Function, batch: Function | None, options: ToolOptions, *, strict: bool) -> Tool:
    doc = docstring.parse(function.__doc__ or "")
    if not _TOOL_NAME.fullmatch(name):
        raise InvalidToolDeclaration(f"{name!r} is no name for a tool: letters, digits, _ and -, at most 64.")
    if not doc.description:
        raise InvalidToolDeclaration(f"Tool {name} needs a docstring: it is what the model reads.")
    hints = _type_hints(name, function)
    arguments_struct, parameters = _arguments_struct_and_schema(name, function, hints, doc, strict=strict)
    context_name = _context_parameter_name(hints)
    batch_context_name = _context_parameter_name(_type_hints(name, batch)) if batch else ""
    return Tool(
        name=name,
        description=doc.description,
        parameters=parameters,
        validate_arguments=ArgumentValidator(name, arguments_struct, parameters, strict=strict),
        call=_adapt_function(function, context_name),
        batch=_adapt_batch_function(name, batch, batch_context_name) if batch else None,
        options=options,
        strict=strict,
        blocking=not (inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function)),
        takes_context=bool(context_name or batch_context_name),
        function=function,
    )


def _type_hints(name: str, function: Function) -> dict[str, Any]:
    try:
        return typing.get_type_hints(function, include_extras=True)
    except NameError as error:
        raise InvalidToolDeclaration(f"The annotations of tool {name} cannot be read: {error}.") from error


def _context_parameter_name(hints: Mapping[str, Any]) -> str:
    return next((name for name, hint in hints.items() if hint is ToolContext and name != "return"), "")


def _arguments_struct_and_schema(
    name: str, function: Function, hints: Mapping[str, Any], doc: docstring.Docstring, *, strict: bool
) -> tuple[type[msgspec.Struct], schema.Schema]:
    model_parameters = [
        p for p in inspect.signature(function).parameters.values() if hints.get(p.name) is not ToolContext
    ]
    try:
        fields = [_struct_field(parameter, hints) for parameter in model_parameters]
        struct = msgspec.defstruct(name.replace("-", "_"), fields, kw_only=True, forbid_unknown_fields=True)
        parameters = schema.parameters_schema(struct, doc.parameters)
        if strict:
            schema.strict_form(parameters)
    except (TypeError, ValueError) as error:
        raise InvalidToolDeclaration(f"The parameters of tool {name} cannot be: {error}") from error
    return struct, parameters


def _struct_field(parameter: inspect.Parameter, hints: Mapping[str, Any]) -> Any:
    if parameter.kind not in {parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY}:
        raise TypeError(f"{parameter} has no name a model could use.")
    if parameter.name not in hints:
        raise TypeError(f"{parameter.name} needs a type.")
    if parameter.default is parameter.empty:
        return parameter.name, hints[parameter.name]
    return parameter.name, hints[parameter.name], parameter.default


def _adapt_function(function: Function, context_name: str) -> Call:
    """The one shape of a call, from any shape of a function."""

    def keyword_arguments(arguments: msgspec.Struct, context: ToolContext) -> dict[str, Any]:
        return msgspec.structs.asdict(arguments) | ({context_name: context} if context_name else {})

    async def call_coroutine(arguments: Any, context: ToolContext) -> Any:
        return await function(**keyword_arguments(arguments, context))

    async def call_generator(arguments: Any, context: ToolContext) -> Any:
        return await stream_progress(function(**keyword_arguments(arguments, context)), context.progress)

    async def call_in_thread(arguments: Any, context: ToolContext) -> Any:
        return await context.in_thread(lambda: function(**keyword_arguments(arguments, context)))

    if inspect.isasyncgenfunction(function):
        return call_generator
    return call_coroutine if inspect.iscoroutinefunction(function) else call_in_thread


def _adapt_batch_function(name: str, batch: Function, context_name: str) -> BatchCall:
    if not inspect.iscoroutinefunction(batch):
        raise InvalidToolDeclaration(f"The batch form of tool {name} must be an async function.")

    async def call(arguments: Sequence[Any], context: ToolContext) -> Sequence[Any]:
        results: Sequence[Any] = await batch(arguments, **({context_name: context} if context_name else {}))
        return results

    return call
