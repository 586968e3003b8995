"""What is looked for in a request: each check returns what it found, or None if there is nothing to refuse."""

import base64
import binascii
import functools
import itertools
import json
import math
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Any

import botocore.session
from botocore.model import Shape
from botocore.validate import ParamValidator

from tests.contract.providers.prompt_cache import Block, blocks_of
from tests.contract.providers.requests import Call, Document, Request, Turn

__all__ = ["Check"]

Check = Callable[[Request], str | None]

IMAGE_TYPES = {"image/png", "image/jpeg", "image/gif", "image/webp"}
COMBINATIONS = {"anyOf", "oneOf", "allOf", "enum", "not"}
STAND_IN_SIGNATURES = {"skip_thought_signature_validator", "context_engineering_is_the_way_to_go"}


def first(found: Iterable[str]) -> str | None:
    return next(iter(found), None)


def calls(request: Request) -> Iterator[tuple[str, Call]]:
    for at, turn in enumerate(request.turns):
        for number, call in enumerate(turn.calls):
            yield f"messages.{at}.content.{number}", call


def results(request: Request) -> Iterator[tuple[int, str]]:
    for at, turn in enumerate(request.turns):
        for result in turn.results:
            yield at, result.id


def has_tool_blocks(request: Request) -> bool:
    return any(turn.calls or turn.results for turn in request.turns)


def too_long(request: Request) -> str | None:
    return f"{request.tokens} > {request.window}" if 0 < request.window < request.tokens else None


# Emptiness.


def no_messages(request: Request) -> str | None:
    return None if request.turns else "messages"


def blank_text(request: Request) -> str | None:
    blank = (f"messages.{at}" for at, turn in enumerate(request.turns) if any(not t.strip() for t in turn.texts))
    return first(blank)


def blank_system(request: Request) -> str | None:
    return first("system" for text in request.system if not text.strip())


def empty_turn(request: Request) -> str | None:
    """A message without any block; a tool's result is one."""
    empty = (at for at, turn in enumerate(request.turns) if not (turn.kinds or turn.calls or turn.results))
    return first(map(str, empty))


def empty_text_without_calls(request: Request) -> str | None:
    """An assistant turn that says nothing and calls nothing."""
    return first(
        str(at)
        for at, turn in enumerate(request.turns)
        if turn.role == "assistant" and not turn.calls and not any(text.strip() for text in turn.texts)
    )


def missing_result_text(request: Request) -> str | None:
    found = (result.id for turn in request.turns for result in turn.results if result.text is None)
    return first(found)


def blank_result(request: Request) -> str | None:
    found = (result.id for turn in request.turns for result in turn.results if not (result.text or "").strip())
    return first(found)


def empty_error_result(request: Request) -> str | None:
    return first(r.id for turn in request.turns for r in turn.results if r.is_error and not (r.text or "").strip())


def blank_description(request: Request) -> str | None:
    return first(tool.name for tool in request.tools if tool.description == "")


def empty_lists(request: Request) -> str | None:
    """An empty list of tools, or of calls."""
    if request.body.get("tools") == [] or (request.body.get("toolConfig") or {}).get("tools") == []:
        return "tools"
    return first(f"messages.{at}.tool_calls" for at, t in enumerate(request.turns) if t.raw.get("tool_calls") == [])


# Order.


def first_is_not_user(request: Request) -> str | None:
    return request.turns[0].role if request.turns and request.turns[0].role != "user" else None


def neighbours(request: Request) -> str | None:
    roles = [turn.role for turn in request.turns]
    pairs = zip(roles, roles[1:], range(1, len(roles)), strict=False)
    return first(f"messages[{at - 1}] and messages[{at}]" for one, two, at in pairs if one == two != "tool")


def template_roles(request: Request) -> str | None:
    """As chat templates count: user and assistant take turns; calls and their results are left out of the count."""
    spoken = [turn.role for turn in request.turns if turn.role != "tool" and not turn.calls]
    wrong = (role for at, role in enumerate(spoken) if (role == "user") != (at % 2 == 0))
    return first(wrong)


def plain_template_roles(request: Request) -> str | None:
    """As templates without tools count: every message."""
    wrong = (turn.role for at, turn in enumerate(request.turns) if (turn.role == "user") != (at % 2 == 0))
    return first(wrong)


def last_is_assistant(request: Request) -> str | None:
    return "assistant" if request.turns and request.turns[-1].role == "assistant" else None


def user_after_tool(request: Request) -> str | None:
    roles = [turn.role for turn in request.turns]
    return first(
        f"'{two}' after role '{one}'"
        for one, two in itertools.pairwise(roles)
        if one == "tool" != two and two != "assistant"
    )


def system_not_first(request: Request) -> str | None:
    roles = [message["role"] for message in request.body.get("messages") or ()]
    late = (role for at, role in enumerate(roles) if role in {"system", "developer"} and at)
    return first(late)


def call_after_assistant(request: Request) -> str | None:
    """Gemini: calls come after a user's turn or results."""
    pairs = zip(request.turns, request.turns[1:], strict=False)
    found = (call.name for before, turn in pairs if before.role == "assistant" for call in turn.calls)
    starts = [call.name for turn in request.turns[:1] for call in turn.calls]
    return first([*starts, *found])


# Calls and results.


def unanswered_calls(request: Request) -> str | None:
    for at, turn in enumerate(request.turns):
        answered = {result.id for result in request.results_after(at)}
        missing = [call.id for call in turn.calls if call.id not in answered]
        if missing:
            return ", ".join(missing)
    return None


def calls_before(request: Request, at: int) -> list[Call]:
    """The calls that results at this place belong to."""
    while at and request.turns[at - 1].role == "tool":
        at -= 1
    return request.turns[at - 1].calls if at else []


def orphan_results(request: Request) -> str | None:
    return first(i for at, i in results(request) if i not in {call.id for call in calls_before(request, at)})


def different_number_of_results(request: Request) -> str | None:
    found = (at for at, turn in enumerate(request.turns) if len(turn.calls) != len(_results_of(request, at)))
    return first(map(str, found))


def _results_of(request: Request, at: int) -> list[Any]:
    turn = request.turns[at]
    return request.results_after(at) if turn.role == "assistant" else []


def doubled_calls(request: Request) -> str | None:
    return first(i for turn in request.turns for i, n in Counter(call.id for call in turn.calls).items() if n > 1)


def doubled_calls_anywhere(request: Request) -> str | None:
    return first(i for i, n in Counter(call.id for _, call in calls(request)).items() if n > 1)


def doubled_results(request: Request) -> str | None:
    for at, turn in enumerate(request.turns):
        if turn.calls:
            count = Counter(result.id for result in request.results_after(at))
            if twice := [i for i, n in count.items() if n > 1]:
                return twice[0]
    return None


def results_not_first(request: Request) -> str | None:
    """Messages API: in a user's message, results come before anything else."""
    for at, turn in enumerate(request.turns):
        kinds = turn.kinds
        if any(kind == "tool_result" and before != "tool_result" for before, kind in itertools.pairwise(kinds)):
            return str(at)
    return None


def arguments_no_object(request: Request) -> str | None:
    return first(call.id for _, call in calls(request) if not isinstance(call.arguments, dict))


def several_calls(request: Request) -> str | None:
    return first(str(at) for at, turn in enumerate(request.turns) if len(turn.calls) > 1)


def misfit(pattern: str, what: str) -> Check:
    """Names or ids that do not match: `call ids`, `call names` or `tool names`."""

    def check(request: Request) -> str | None:
        values = {
            "call ids": (call.id for _, call in calls(request)),
            "call names": (call.name for _, call in calls(request)),
            "tool names": (tool.name for tool in request.tools),
        }[what]
        return first(repr(value) for value in values if not re.fullmatch(pattern, value))

    return check


def misfitting_results(request: Request) -> str | None:
    return first(repr(i) for _, i in results(request) if not re.fullmatch(r"[a-zA-Z0-9]{9}", i))


# Tools.


def tools_missing(request: Request) -> str | None:
    return "tools" if has_tool_blocks(request) and not request.tools else None


def any_tools(request: Request) -> str | None:
    return "tools" if request.tools else None


def any_system(request: Request) -> str | None:
    return first(request.system)


def any_image(request: Request) -> str | None:
    return first("image" for turn in request.turns for _ in turn.images)


def choice_without_tools(request: Request) -> str | None:
    return request.choice if request.choice and not request.tools else None


def choice_of_unknown_tool(request: Request) -> str | None:
    known = {"", "auto", "none", "required", *(tool.name for tool in request.tools)}
    return None if request.choice in known else request.choice


def doubled_tools(request: Request) -> str | None:
    return first(name for name, n in Counter(tool.name for tool in request.tools).items() if n > 1)


def no_object_schema(request: Request) -> str | None:
    return first(t.name for t in request.tools if t.schema is not None and dict(t.schema).get("type") != "object")


def combined_schema(*words: str) -> Check:
    """Words at the top of a schema, where the provider takes none of them."""

    def check(request: Request) -> str | None:
        return first(t.name for t in request.tools if set(words or COMBINATIONS) & set(t.schema or ()))

    return check


def odd_property(request: Request) -> str | None:
    """Only the properties at the top of a schema are looked at."""
    names = ((t.name, name) for t in request.tools for name in dict(t.schema or {}).get("properties") or ())
    return first(f"{tool}: {name}" for tool, name in names if not re.fullmatch(r"[a-zA-Z0-9_.-]{1,64}", name))


# The schema of an answer.

NOT_CLOSED_WORDS = {
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "multipleOf",
    "minLength",
    "maxLength",
}
NOT_CLOSED_WORDS |= {"maxItems", "not", "if", "patternProperties", "prefixItems", "dependentRequired"}
NOT_STRICT_WORDS = {"minLength", "maxLength", "patternProperties", "uniqueItems", "contains", "allOf", "oneOf", "not"}
NOT_STRICT_WORDS |= {"if", "default", "dependentRequired", "dependentSchemas"}


def _output_schema(request: Request) -> Any:
    """The schema that the answer is constrained by, as Anthropic and Bedrock get it."""
    if "outputConfig" in request.body:
        return json.loads(request.body["outputConfig"]["textFormat"]["structure"]["jsonSchema"]["schema"])
    return ((request.body.get("output_config") or {}).get("format") or {}).get("schema")


def any_output_schema(request: Request) -> str | None:
    return first("outputConfig" for _ in (request.body.get("outputConfig"),) if _)


def _subschemas(schema: Any) -> Iterator[dict[str, Any]]:
    """The schema and all within it."""
    if not isinstance(schema, dict):
        return
    yield schema
    for word in ("properties", "$defs", "definitions"):
        for part in schema.get(word, {}).values():
            yield from _subschemas(part)
    for word in ("items", "additionalProperties"):
        yield from _subschemas(schema.get(word))
    for word in ("anyOf", "allOf", "oneOf"):
        for part in schema.get(word, []):
            yield from _subschemas(part)


def _leads_back(schema: dict[str, Any], root: dict[str, Any], seen: tuple[str, ...] = ()) -> bool:
    for part in _subschemas(schema):
        if target := part.get("$ref"):
            *_, kind, name = target.split("/") if "/" in target else ("", "", "")
            if target in seen or target == "#" or _leads_back(root[kind][name], root, (*seen, target)):
                return True
    return False


def open_output_schema(request: Request) -> str | None:
    """Anthropic's rules, which are Converse's for Claude."""
    root = _output_schema(request)
    parts = list(_subschemas(root))
    objects = [part for part in parts if "object" in str(part.get("type"))]
    optional = sum(len(part.get("properties", {})) - len(part.get("required", [])) for part in objects)
    unions = sum("anyOf" in part or isinstance(part.get("type"), list) for part in parts)
    found = {word for part in parts for word in part if word in NOT_CLOSED_WORDS}
    found |= {"additionalProperties" for part in objects if part.get("additionalProperties") is not False}
    found |= {"too complex" for _ in range(optional > 24 or unions > 16)}
    found |= {"recursive" for _ in range(bool(root) and _leads_back(root, root))}
    return first(sorted(found))


def odd_strict_schema(request: Request) -> str | None:
    """OpenAI's rules for strict mode; without it, the root has to be an object."""
    described = (request.body.get("response_format") or {}).get("json_schema")
    described = described or (request.body.get("text") or {}).get("format")
    if not described or "schema" not in described:
        return None
    root = described["schema"]
    if root.get("type") != "object":
        return "type"
    parts = list(_subschemas(root)) if described["strict"] else []
    objects = [part for part in parts if "object" in str(part.get("type"))]
    found = {word for part in parts for word in part if word in NOT_STRICT_WORDS}
    found |= {"additionalProperties" for part in objects if part.get("additionalProperties") is not False}
    found |= {"required" for part in objects if part["properties"].keys() != set(part.get("required", []))}
    found |= {"$ref" for part in parts if "$ref" in part and len(part) > 1}
    return first(sorted(found))


# Thinking.


def forced_call_while_thinking(request: Request) -> str | None:
    return request.choice if request.thinks and request.choice not in {"", "auto", "none"} else None


def temperature_while_thinking(request: Request) -> str | None:
    inference = request.body.get("inferenceConfig") or {}
    temperature = request.body.get("temperature", inference.get("temperature"))
    return str(temperature) if request.thinks and temperature not in {None, 1} else None


def budget(request: Request) -> str | None:
    fields = request.body.get("additionalModelRequestFields") or request.body
    tokens = (fields.get("thinking") or {}).get("budget_tokens")
    limit = request.body.get("max_tokens") or (request.body.get("inferenceConfig") or {}).get("maxTokens")
    return str(tokens) if request.thinks and tokens and not 1024 <= tokens < (limit or math.inf) else None


def _open_turns(request: Request) -> list[Turn]:
    """The assistant's turns with calls since the user's last question: the tool loop under way."""
    return [turn for turn in request.turns[request.last_question + 1 :] if turn.calls]


def _last_answered_turn(request: Request) -> Turn | None:
    """The last assistant's turn, if the request ends with the results of its calls."""
    if not request.turns or not request.turns[-1].results:
        return None
    return next((turn for turn in reversed(request.turns) if turn.role == "assistant"), None)


def thinking_not_first(request: Request) -> str | None:
    turn = _last_answered_turn(request) if request.thinks else None
    if turn is None or not turn.calls:
        return None
    if turn.raw.get("thinking_blocks") or (
        turn.kinds and turn.kinds[0] in {"thinking", "redacted_thinking", "reasoningContent"}
    ):
        return None
    return turn.kinds[0] if turn.kinds else "tool_use"


def changed_thinking(request: Request) -> str | None:
    """Thinking that the fake has not given out: its signature cannot be verified."""
    found = (block for turn in request.turns for block in turn.thinking if block not in request.given.thinking)
    return first(str(block)[:80] for block in found)


def thinking_in_user_turn(request: Request) -> str | None:
    return first(str(at) for at, turn in enumerate(request.turns) if turn.role == "user" and turn.thinking)


def reasoning_content_missing(request: Request) -> str | None:
    """On a turn with calls the field may be empty, but it has to be there."""
    found = (str(at) for at, t in enumerate(request.turns) if t.calls and t.raw.get("reasoning_content") is None)
    return first(found) if request.thinks else None


def signature_missing(request: Request) -> str | None:
    """The first call of each turn of the tool loop under way has its signature; others that had one keep it."""
    for turn in _open_turns(request):
        for number, call in enumerate(turn.calls):
            google = ((call.raw.get("extra_content") or {}).get("google")) or {}
            signature, given = google.get("thought_signature"), request.given.details.get(call.id)
            if signature in STAND_IN_SIGNATURES or (given and signature == given):
                continue
            if number == 0 or given:
                return call.name
    return None


def details_missing(request: Request) -> str | None:
    for turn in _open_turns(request):
        given = request.given.details.get(turn.calls[0].id)
        details = turn.raw.get("reasoning_details") or [{}]
        has_stand_in = details[0].get("data") in STAND_IN_SIGNATURES and details[0].get("id") == turn.calls[0].id
        if not has_stand_in and (given is None or details != given):
            return turn.calls[0].name
    return None


def signed_id_changed(request: Request) -> str | None:
    """The id carries the signature; a call of another model has none, and needs one in the loop under way."""
    return first(turn.calls[0].name for turn in _open_turns(request) if turn.calls[0].id not in request.given.ids)


# Marks for a prompt cache.


def _marked(request: Request) -> list[Block]:
    dialect = "bedrock" if request.family.startswith("bedrock") else "anthropic"
    return [block for block in blocks_of(dialect, request.body) if block.ttl]


def many_marks(request: Request) -> str | None:
    count = len(_marked(request))
    return str(count) if count > 4 else None


def marks_on(*kinds: str, place: str = "") -> Check:
    """Marks that a provider does not take on blocks of these kinds; with a place, only there."""

    def check(request: Request) -> str | None:
        return first(f"{b.place}.{b.kind}" for b in _marked(request) if b.kind in kinds and place in {"", b.place})

    return check


def long_mark(request: Request) -> str | None:
    return first(block.place for block in _marked(request) if block.ttl == "1h")


def long_after_short_mark(request: Request) -> str | None:
    pairs = itertools.pairwise(_marked(request))
    return first(after.place for before, after in pairs if before.ttl == "5m" and after.ttl == "1h")


# How much it thinks.


def thinking_fields(request: Request) -> dict[str, Any]:
    """Where the fields for reasoning are: on Bedrock among those of the model."""
    fields: dict[str, Any] = request.body.get("additionalModelRequestFields") or dict(request.body)
    return fields


def thinking_of(*kinds: str) -> Check:
    def check(request: Request) -> str | None:
        kind = (thinking_fields(request).get("thinking") or {}).get("type")
        return kind if kind in kinds else None

    return check


def newer_thinking(request: Request) -> str | None:
    """Adaptive thinking, or an effort."""
    return thinking_of("adaptive")(request) or (thinking_fields(request).get("output_config") or {}).get("effort")


def sampling(request: Request) -> str | None:
    fields = {**request.body, **(request.body.get("inferenceConfig") or {})}
    return first(name for name in ("temperature", "top_p", "topP", "top_k") if fields.get(name) is not None)


def forced_call(request: Request) -> str | None:
    return request.choice if request.choice not in {"", "auto", "none"} else None


def other_levels(*levels: str) -> Check:
    """A level that is none of these, in any of the fields that have one."""

    def check(request: Request) -> str | None:
        fields = thinking_fields(request)
        nested = (fields.get(name) or {} for name in ("reasoning", "output_config", "reasoningConfig"))
        named = (each.get(name) for each in nested for name in ("effort", "maxReasoningEffort"))
        asked = (fields.get("reasoning_effort"), fields.get("reasoning_config"), *named)
        return first(level for level in asked if level is not None and level not in levels)

    return check


def unknown_model_fields(*known: str) -> Check:
    """Fields that the model behind Converse does not know."""
    return lambda request: first(
        name for name in request.body.get("additionalModelRequestFields") or () if name not in known
    )


# Fields and limits.


@functools.cache
def _converse() -> tuple[ParamValidator, Shape]:
    model = botocore.session.get_session().get_service_model("bedrock-runtime")
    shape = model.operation_model("ConverseStream").input_shape
    assert shape
    return ParamValidator(), shape


def converse_shape(request: Request) -> str | None:
    validator, shape = _converse()
    report = validator.validate({"modelId": "m", **request.body}, shape)
    return report.generate_report() if report.has_errors() else None


def odd_guardrail(request: Request) -> str | None:
    """The shape's validator looks at types alone, not at patterns and choices."""
    config = request.body.get("guardrailConfig")
    patterns = {
        "guardrailIdentifier": r"[a-z0-9]+|arn:aws(-[^:]+)?:bedrock:[a-z0-9-]{1,20}:[0-9]{12}:guardrail/[a-z0-9]+",
        "guardrailVersion": r"[1-9][0-9]{0,7}|DRAFT",
        "streamProcessingMode": "sync|async",
        "trace": "enabled|disabled|enabled_full",
    }
    values = {"streamProcessingMode": "sync", "trace": "disabled"} | (config or {})
    names = (name for name, pattern in patterns.items() if not re.fullmatch(pattern, str(values.get(name, ""))))
    return first(names) if config is not None else None


def unknown_fields(known: Collection[str]) -> Check:
    return lambda request: first(name for name in request.body if name not in known)


def unknown_message_fields(known: Collection[str]) -> Check:
    def check(request: Request) -> str | None:
        messages = request.body.get("messages") or ()
        found = (
            f"messages.{at}.{m['role']}.{name}" for at, m in enumerate(messages) for name in m if name not in known
        )
        return first(found)

    return check


def old_max_tokens(request: Request) -> str | None:
    return "max_tokens" if "max_tokens" in request.body else None


# Responses.

MESSAGE_FIELDS = {"type", "role", "content", "phase"}
ITEM_FIELDS = {
    "message": MESSAGE_FIELDS,
    "reasoning": {"type", "id", "summary", "content", "encrypted_content", "status"},
    "function_call": {"type", "id", "call_id", "name", "arguments", "status"},
    "function_call_output": {"type", "id", "call_id", "output", "status"},
    "compaction": {"type", "id", "encrypted_content"},
}


def items(request: Request) -> Iterator[tuple[str, str, Any]]:
    """Where each item of the input is, its type, and the item."""
    for at, item in enumerate(request.body.get("input") or ()):
        yield f"input[{at}]", item.get("type", "message"), item


def unknown_item_fields(request: Request) -> str | None:
    return first(f"{at}.{name}" for at, kind, item in items(request) for name in item if name not in ITEM_FIELDS[kind])


def item_ids(request: Request) -> str | None:
    """Nothing is stored, so that no id is known."""
    return first(item["id"] for _, _, item in items(request) if "id" in item)


def reasoning_without_successor(request: Request) -> str | None:
    """Reasoning that neither a message nor a call of the model follows."""
    kinds = [kind if item.get("role") != "user" else "user" for _, kind, item in items(request)]
    pairs = itertools.zip_longest(kinds, kinds[1:])
    found = (str(at) for at, (one, two) in enumerate(pairs) if one == "reasoning" and two in {None, "user"})
    return first([*found, *_reasoning_before_results(kinds)])


def _reasoning_before_results(kinds: list[str]) -> Iterator[str]:
    for at, (one, two) in enumerate(itertools.pairwise(kinds)):
        if (one, two) == ("reasoning", "function_call_output"):
            yield str(at)


def reasoning_without_summary(request: Request) -> str | None:
    return first(f"{at}.summary" for at, kind, item in items(request) if kind == "reasoning" and "summary" not in item)


def inputs_of_the_assistant(request: Request) -> str | None:
    found = (part["type"] for _, _, item in items(request) if item.get("role") == "assistant" for part in _parts(item))
    return first(kind for kind in found if kind.startswith("input_"))


def _parts(item: Any) -> list[Any]:
    return item["content"] if isinstance(item["content"], list) else []


def wrapped_tools(request: Request) -> str | None:
    """Tools in the shape of Chat Completions, whose name is within."""
    return first(f"tools[{at}].name" for at, tool in enumerate(request.body.get("tools") or ()) if "name" not in tool)


def loose_tools(request: Request) -> str | None:
    """Tools that are strict, as they are unless they say otherwise, with a schema that is not."""
    tools = [tool for tool in request.body.get("tools") or () if tool.get("strict") is not False]
    schemas = ((tool.get("name", ""), dict(tool.get("parameters") or {})) for tool in tools)
    return first(name for name, schema in schemas if schema.get("additionalProperties") is not False)


def few_output_tokens(request: Request) -> str | None:
    tokens = request.body.get("max_output_tokens")
    return str(tokens) if tokens is not None and tokens < 16 else None


def new_max_tokens(request: Request) -> str | None:
    return "max_completion_tokens" if "max_completion_tokens" in request.body else None


def any_temperature(request: Request) -> str | None:
    temperature = request.body.get("temperature")
    return str(temperature) if temperature not in {None, 1} else None


def stream_options(request: Request) -> str | None:
    return "stream_options" if "stream_options" in request.body else None


def max_tokens_missing(request: Request) -> str | None:
    tokens = request.body.get("max_tokens")
    return None if isinstance(tokens, int) and tokens >= 1 else "max_tokens"


def foreign_image(request: Request) -> str | None:
    found = (image.media_type for turn in request.turns for image in turn.images if not image.url)
    return first(media_type for media_type in found if media_type not in IMAGE_TYPES)


def broken_image(request: Request) -> str | None:
    found = (image.data for turn in request.turns for image in turn.images if not image.url)
    return first(data[:20] for data in found if not _is_base64(data))


def image_url(request: Request) -> str | None:
    return first(image.url for turn in request.turns for image in turn.images if image.url)


# Documents.


def documents(request: Request) -> Iterator[tuple[str, Document]]:
    for at, turn in enumerate(request.turns):
        for number, document in enumerate(turn.documents):
            yield f"messages.{at}.content.{number}", document


def any_document(request: Request) -> str | None:
    return first(place for place, _ in documents(request))


def foreign_document(kind: str) -> Check:
    """Data of another type than this, or that is none."""
    return lambda request: first(
        f"{place}: {document.kind}"
        for place, document in documents(request)
        if not document.url and (document.kind != ("text/plain" if document.text else kind) or not _is_whole(document))
    )


def _is_whole(document: Document) -> bool:
    if not document.data:
        return bool(document.text.strip())
    starts = {"docx": b"PK", "xlsx": b"PK", "doc": b"\xd0\xcf", "xls": b"\xd0\xcf"}
    start = b"%PDF-" if document.kind.endswith("pdf") else starts.get(document.kind, b"")
    return _is_base64(document.data) and base64.b64decode(document.data).startswith(start)


def broken_document(request: Request) -> str | None:
    return first(place for place, document in documents(request) if not _is_whole(document))


def unnamed_document(request: Request) -> str | None:
    return first(place for place, document in documents(request) if not document.name.strip())


def foreign_document_name(request: Request) -> str | None:
    allowed = re.compile(r"(?!.*\s\s)[a-zA-Z0-9\s()\[\]-]{1,200}")
    return first(document.name for _, document in documents(request) if not allowed.fullmatch(document.name))


def document_name_twice(request: Request) -> str | None:
    counts = Counter(document.name for _, document in documents(request))
    return first(name for name, count in counts.items() if count > 1)


def document_without_text(request: Request) -> str | None:
    return first(str(at) for at, turn in enumerate(request.turns) if turn.documents and not turn.texts)


def document_beside_result(request: Request) -> str | None:
    return first(str(at) for at, turn in enumerate(request.turns) if turn.documents and turn.results)


def document_of_assistant(request: Request) -> str | None:
    return first(str(at) for at, turn in enumerate(request.turns) if turn.documents and turn.role != "user")


def too_many_documents(request: Request) -> str | None:
    count = len(list(documents(request)))
    return str(count) if count > 5 else None


def too_large_document(request: Request) -> str | None:
    return first(place for place, document in documents(request) if len(document.data) > 6_000_000)


def citations_of_another_model(request: Request) -> str | None:
    return first(place for place, document in documents(request) if document.cites)


def some_citations(request: Request) -> str | None:
    kinds = {document.cites for _, document in documents(request)}
    has_format = bool((request.body.get("output_config") or {}).get("format"))
    return "citations" if len(kinds) > 1 or (True in kinds and has_format) else None


def _is_base64(data: str) -> bool:
    try:
        return bool(base64.b64decode(data, validate=True))
    except (binascii.Error, ValueError):
        return False
