"""Tool declaration: the decorator `@tool` makes a tool of one typed function with a docstring.

    @tool(timeout_s=5)
    async def get_weather(city: str, days: Annotated[int, Meta(ge=1, le=7)] = 1) -> Forecast:
        ...  # with a docstring: it is what the model reads

Name, description and schema come from the function; arguments are validated before it is called. It may be async
or synchronous (then it runs in a thread), and either may be a generator: its items are progress, the last one is the
result. Tools from other sources, such as MCP servers, build a `Tool` from an argument validator and an async call.
"""

import inspect
import re
import typing
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Final, Generic, Literal, TypeAlias, TypeVar, overload

import msgspec
from msgspec import Meta

from winterbourne.chat.core.messages import ToolSchema
from winterbourne.chat.errors import InvalidToolDeclaration, ToolError
from winterbourne.chat.settings import Count, Seconds
from winterbourne.chat.tool_runtime import docstring, schema
from winterbourne.chat.tool_runtime.context import ToolContext
from winterbourne.chat.tool_runtime.progress import stream_progress, stream_thread
from winterbourne.chat.tool_runtime.validation import ArgumentValidator
from winterbourne.override import override

if TYPE_CHECKING:
    from typing import Unpack

    from winterbourne.chat.tool_runtime.option_arguments import OptionArguments

__all__ = ["BatchCall", "Call", "Function", "Tool", "ToolContext", "ToolOptions", "tool"]

Function: TypeAlias = Callable[..., Any]
"""A typed function with a docstring."""
Call: TypeAlias = Callable[[Any, ToolContext], Awaitable[Any]]
BatchCall: TypeAlias = Callable[[Sequence[Any], ToolContext], Awaitable[Sequence[Any]]]

F = TypeVar("F", bound=Function)
F_co = TypeVar("F_co", covariant=True)  # without a bound, so that a list of tools is one of tools, not of objects

VariableName: TypeAlias = Annotated[str, Meta(pattern=r"^[A-Z_][A-Z0-9_]*\Z")]

_TOOL_NAME: Final = re.compile(r"[a-zA-Z0-9_-]{1,64}")  # what all providers accept


class ToolOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a tool is run. Times are in seconds.

    Attributes:
        timeout_s: How long one call may take, its retries included; None means TOOL_EXECUTION_TIMEOUT. An async
            function is cancelled then; a thread cannot be, and its result is dropped.
        retries: How often a failed call is retried. Only for idempotent tools, which are safe to repeat.
        cache_ttl_s: How long a result is cached for identical calls. Identical calls in flight share one run
            (single-flight), even at 0. None means that every call runs.
        cache_per_caller: Whether results are cached separately for each caller. None means that they are if the tool
            takes a ToolContext, which identifies the caller; with False the tool cannot read the caller.
        batch_window_s: How long the first call of a turn waits for others, for tools with a batch function; no longer
            than until the model has ended its turn.
        breaker: The name of its circuit breaker, which refuses calls for a while after TOOL_BREAKER_FAILURES failures
            in a row: the tool's own name, or a host that several tools share; empty means none.
        max_result_bytes: Longer JSON results are cut, from 256 bytes on; None means TOOL_MAX_RESULT_BYTES.
        concurrency: How many calls may run at once in this process; None means any number.
        keys: API keys that must be set, by the names of their variables: `context.key("NAME")` reads the variable NAME,
            or the secret whose ARN is in NAME_SECRET_ARN. Without them the tool is unavailable.
        needs: Settings, or other variables that are no secrets, that must be set, by the names of their variables.
        approval: Whether a person must agree before a call is run; or a function (async or not) of the arguments and
            the ToolContext that returns so, or a sentence for that person, for which it is run only after a yes.
        approval_allows_edits: Whether that person may change the arguments.
        once: Whether the call has a side effect that must not happen twice: the same arguments for the same question
            run once, whatever is retried, resumed or killed. `context.idempotency_key` is the key of the call.
        eager: Whether a call starts while the model is still talking. None means that it does, unless the tool has
            `approval` or `once`: those wait until the model's turn is whole.
        isolation: `process` runs the tool in a process of its own, which is killed at the timeout and hurts nothing
            else if it crashes or never returns. None means in this process.
        memory_mb: The most memory that such a process may have, in megabytes.
    """

    timeout_s: Seconds | None = None
    retries: Annotated[int, Meta(ge=0, le=10)] = 0
    cache_ttl_s: Annotated[float, Meta(ge=0)] | None = None
    cache_per_caller: bool | None = None
    batch_window_s: Seconds = 0.01
    breaker: str = ""
    max_result_bytes: Annotated[int, Meta(ge=256)] | None = None
    concurrency: Count | None = None
    keys: tuple[VariableName, ...] = ()
    needs: tuple[VariableName, ...] = ()
    approval: Any = False
    approval_allows_edits: bool = False
    once: bool = False
    eager: bool | None = None
    isolation: Literal["process"] | None = None
    memory_mb: Annotated[int, Meta(ge=64)] = 512

    @property
    def is_eager(self) -> bool:
        """Whether a call starts while the model is still talking."""
        return not (self.approval or self.once) if self.eager is None else self.eager


class Tool(msgspec.Struct, frozen=True, kw_only=True):
    """A tool from any source, as the executor uses it.

    Attributes:
        validate_arguments: Converts JSON text to validated arguments; raises ToolError with a sentence for the model.
        call: Runs the tool once and returns its result, as an awaitable unless it is `blocking`; raises if it fails.
        batch: Runs many calls as one; returns one result, or an exception in its place, for each call, in order. Raises
            ToolError if it has another number of results.
        blocking: Whether the tool needs a thread: `call` runs in one, unless it returns an awaitable that uses one.
        takes_context: Whether the result of `call` may depend on its context, and so on the caller.
        optional_settings: Settings that `call` may read besides those in `options.needs`, by the names of their
            variables.
        offered_if: A setting without which the tool is not offered at all, by the name of its variable; empty for none.
        function: The decorated function; None for tools from other sources.

    A decorated function can be called as before, in tests for example.
    """

    name: str
    description: str
    parameters: dict[str, Any]
    validate_arguments: Callable[[str], Any]
    call: Callable[[Any, ToolContext], Any]
    batch: BatchCall | None = None
    options: ToolOptions = ToolOptions()
    blocking: bool = False
    takes_context: bool = True
    optional_settings: tuple[str, ...] = ()
    offered_if: str = ""
    function: Function | None = None

    def __call__(self, *arguments: Any, **named_arguments: Any) -> Any:
        """Call the decorated function, without validation, timeout, and what else belongs to a run."""
        if self.function is None:
            raise TypeError(f"there is no function behind the tool {self.name}")
        return self.function(*arguments, **named_arguments)

    @property
    def is_cache_shared(self) -> bool:
        """Whether all callers share the cached result of identical calls."""
        per_caller = self.options.cache_per_caller
        return self.options.cache_ttl_s is not None and not (self.takes_context if per_caller is None else per_caller)

    @property
    def schema(self) -> ToolSchema:
        """The tool as the model sees it."""
        return ToolSchema(self.name, self.description, self.parameters)


if TYPE_CHECKING:

    class FunctionTool(Tool, Generic[F_co], frozen=True):
        """A tool whose function is known to type checkers; there is no such class at run time."""

        @property
        @override
        def __call__(self) -> F_co: ...  # type: ignore[override]  # it is a function, see `tool`


@overload
def tool(function: F, /) -> "FunctionTool[F]": ...


@overload
def tool(
    *, batch: Function | None = None, **options: "Unpack[OptionArguments]"
) -> "Callable[[F], FunctionTool[F]]": ...


def tool(
    function: Function | None = None, /, *, name: str = "", batch: Function | None = None, **options: Any
) -> Tool | Callable[[Function], Tool]:
    """Declare a function as a tool: `@tool`, or `@tool(timeout_s=5)` with options.

    The model sees the function's name, its docstring, and a JSON schema of its parameters with their descriptions under
    `Args:`. What the function returns is sent as JSON; what it raises becomes an error result.

    Args:
        function: Async or synchronous (then it runs in a thread); or a generator, async or not, whose items are
            progress and whose last item is the result. Each parameter has a type; one of type `ToolContext` gets the
            call's context and is not in the schema.
        name: Replaces the function's own name: letters, digits, `_` and `-`, at most 64.
        batch: Async function that runs many calls at once. It takes a list of arguments (objects with the parameters
            as attributes) and, if it has a parameter of that type, the ToolContext; it returns one result, or an
            exception, for each call, in order.
        **options: The fields of `ToolOptions`.

    Returns:
        The tool, or with options a decorator that makes it. Called as a function, in a test for example, it is the
        function itself, without validation, timeout and the like.

    Raises:
        InvalidToolDeclaration: The function, its name or its options are invalid.
    """

    def declare(function: Function) -> Tool:
        own_name = name or getattr(function, "__name__", "")
        if not callable(function):
            raise InvalidToolDeclaration(f"@tool takes a function and, by name, its options, but got {function!r}.")
        return _make_tool(own_name, function, batch, _validate_options(own_name, options))

    return declare if function is None else declare(function)


def _validate_options(name: str, options: Mapping[str, Any]) -> ToolOptions:
    known = (*ToolOptions.__struct_fields__, "name", "batch")
    if unknown := [option for option in options if option not in known]:
        raise InvalidToolDeclaration(f"Tool {name} has no option {unknown[0]}; there are {', '.join(sorted(known))}.")
    listed = {each: options.get(each, ()) for each in ("keys", "needs")}
    try:
        tuples = {each: names if isinstance(names, str) else tuple(names) for each, names in listed.items()}
        return msgspec.convert({**options, **tuples}, ToolOptions)
    except (msgspec.ValidationError, TypeError) as error:
        what, _, path = str(error).replace("`", "").partition(" - at $.")
        option = f"Option {path or 'keys or needs'} of tool {name}"
        raise InvalidToolDeclaration(f"{option}: {what[:1].lower()}{what[1:]}.") from None


def _make_tool(name: str, function: Function, batch: Function | None, options: ToolOptions) -> Tool:
    doc = docstring.parse(function.__doc__ or "")
    if not _TOOL_NAME.fullmatch(name):
        raise InvalidToolDeclaration(f"{name!r} is not a valid tool name: use letters, digits, _ and -, at most 64.")
    if not doc.description:
        raise InvalidToolDeclaration(f"Tool {name} needs a docstring: it is what the model reads.")
    if options.once and (batch or options.cache_ttl_s is not None):
        raise InvalidToolDeclaration(f"Tool {name}: `once` goes neither with `cache_ttl_s` nor with `batch`.")
    if not isinstance(options.approval, bool) and not callable(options.approval):
        raise InvalidToolDeclaration(f"Option approval of tool {name}: expected True, False or a function.")
    if options.isolation and batch:
        raise InvalidToolDeclaration(f"Tool {name}: `isolation` does not go with `batch`.")
    hints = _type_hints(name, function)
    arguments_struct, parameters = _arguments_struct_and_schema(name, function, hints, doc)
    context_name = _context_parameter_name(hints)
    batch_context_name = _context_parameter_name(_type_hints(name, batch)) if batch else ""
    return Tool(
        name=name,
        description=doc.description,
        parameters=parameters,
        validate_arguments=ArgumentValidator(name, arguments_struct, parameters),
        call=_adapt_function(function, context_name),
        batch=_adapt_batch_function(name, batch, batch_context_name) if batch else None,
        options=options,
        blocking=not (inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function)),
        takes_context=bool(context_name or batch_context_name),
        function=function,
    )


def _type_hints(name: str, function: Function) -> dict[str, Any]:
    try:
        return typing.get_type_hints(function, include_extras=True)
    except (NameError, AttributeError, SyntaxError, TypeError) as error:
        raise InvalidToolDeclaration(f"The annotations of tool {name} cannot be read: {error}.") from error


def _context_parameter_name(hints: Mapping[str, Any]) -> str:
    return next((name for name, hint in hints.items() if hint is ToolContext and name != "return"), "")


def _arguments_struct_and_schema(
    name: str, function: Function, hints: Mapping[str, Any], doc: docstring.Docstring
) -> tuple[type[msgspec.Struct], schema.Schema]:
    signature = inspect.signature(function).parameters.values()
    try:
        fields = [_struct_field(each, hints) for each in signature if hints.get(each.name) is not ToolContext]
        struct = msgspec.defstruct(name.replace("-", "_"), fields, kw_only=True, forbid_unknown_fields=True)
        parameters = schema.parameters_schema(struct, doc.parameters)
    except (TypeError, ValueError) as error:
        raise InvalidToolDeclaration(f"The parameters of tool {name} are invalid: {error}") from error
    return struct, parameters


def _struct_field(parameter: inspect.Parameter, hints: Mapping[str, Any]) -> Any:
    if parameter.kind not in {parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY}:
        raise TypeError(f"{parameter} cannot be passed by name.")
    if parameter.name not in hints:
        raise TypeError(f"{parameter.name} needs a type.")
    if parameter.default is parameter.empty:
        return parameter.name, hints[parameter.name]
    return parameter.name, hints[parameter.name], parameter.default


def _adapt_function(function: Function, context_name: str) -> Callable[[Any, ToolContext], Any]:
    """Adapt an async or synchronous function, or a generator, to the one signature of `Tool.call`."""

    def call(arguments: Any, context: ToolContext) -> Any:
        return function(**msgspec.structs.asdict(arguments), **({context_name: context} if context_name else {}))

    if inspect.isgeneratorfunction(function):
        return lambda arguments, context: stream_thread(call(arguments, context), context.progress, context.in_thread)
    if inspect.isasyncgenfunction(function):
        return lambda arguments, context: stream_progress(call(arguments, context), context.progress)
    return call


def _adapt_batch_function(name: str, batch: Function, context_name: str) -> BatchCall:
    if not inspect.iscoroutinefunction(batch):
        raise InvalidToolDeclaration(f"The batch form of tool {name} must be an async function.")

    async def call(arguments: Sequence[Any], context: ToolContext) -> Any:
        values = await batch(arguments, **({context_name: context} if context_name else {}))
        if len(values) != len(arguments):
            raise ToolError(f"{name} got a batch of {len(arguments)} calls and returned {len(values)} results.")
        return values

    return call
