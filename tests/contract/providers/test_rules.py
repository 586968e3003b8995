"""The rules: each refuses what it names, a good request breaks none, and docs/reference/providers.md lists them all."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson
import pytest

from tests.contract.providers.families import FAMILIES
from tests.contract.providers.requests import Given, read_request
from tests.contract.providers.rules import LEVELS, MODEL_FIELDS, RULES, Rule, refusals

PAGE = Path(__file__).parents[3] / "docs/reference/providers.md"
PNG = "iVBORw0KGgo="
PDF = "JVBERi0xLjcK"
SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}}
TOOL = ("add", "Adds.", SCHEMA)
CALL = ("toolu0001", "add", {"a": 1})
RESULT = ("toolu0001", "3", False)
QUESTION = {"role": "user", "text": "1 + 2?"}
LOOP: list[dict[str, Any]] = [QUESTION, {"role": "assistant", "calls": [CALL]}, {"role": "user", "results": [RESULT]}]
ANSWER = {"role": "assistant", "text": "3."}


def body_of(
    family: str,
    turns: list[dict[str, Any]] = LOOP,
    tools: list[Any] | None = None,
    choice: Any = None,
    system: list[str] | None = None,
    **fields: Any,
) -> dict[str, Any]:
    """A body in the family's API. A turn has a role, and maybe text, image, calls, results, first (a block) or raw."""
    dialect, tools = FAMILIES[family].dialect, [TOOL] if tools is None else tools
    if not FAMILIES[family].has_tools and tools == [TOOL]:
        tools, turns = [], [turn for turn in turns if "results" not in turn and "calls" not in turn]
    messages = [message for turn in turns for message in WRITERS[dialect](turn)]
    thinking = dict(FAMILIES[family].extra_body)
    if dialect == "anthropic":
        offered: Any = [{"name": n, "description": d, "input_schema": s} for n, d, s in tools]
        kinds: dict[str, Any] = {"auto": {"type": "auto"}, "required": {"type": "any"}}
        body = {"model": "m", "max_tokens": 8192, "stream": True, "messages": messages, "tools": offered}
        body |= {"tool_choice": kinds.get(choice, {"type": "tool", "name": choice}) if choice else None}
        body |= {"system": [{"type": "text", "text": text} for text in system or ()] or None}
    elif dialect == "bedrock":
        specs = [{"toolSpec": {"name": n, "description": d, "inputSchema": {"json": s}}} for n, d, s in tools]
        kinds = {"auto": {"auto": {}}, "required": {"any": {}}}
        config = {"tools": specs, **({"toolChoice": kinds.get(choice, {"tool": {"name": choice}})} if choice else {})}
        body = {"messages": messages, "toolConfig": config if specs or choice else None}
        body |= {"system": [{"text": text} for text in system or ()] or None, "inferenceConfig": {"maxTokens": 8192}}
    elif dialect == "responses":
        flat = [
            {"type": "function", "name": n, "description": d, "parameters": s, "strict": False} for n, d, s in tools
        ]
        body = {"model": "m", "stream": True, "store": False, "input": messages, "tools": flat, "tool_choice": choice}
        body |= {"instructions": "\n".join(system or ()) or None}
    else:
        functions = [{"name": n, "description": d, "parameters": s} for n, d, s in tools]
        offered = [{"type": "function", "function": function} for function in functions]
        first = [{"role": "system", "content": text} for text in system or ()]
        body = {"model": "m", "stream": True, "messages": [*first, *messages], "tools": offered, "tool_choice": choice}
    body |= thinking
    empty = body.get("tools") == []
    body = {name: value for name, value in body.items() if value is not None and not (empty and name == "tools")}
    return body | fields


def _anthropic(turn: Mapping[str, Any]) -> list[dict[str, Any]]:
    blocks = [*turn.get("first", ())]
    blocks += [
        {"type": "tool_result", "tool_use_id": i, "content": text if text is not None else [], "is_error": e}
        for i, text, e in turn.get("results", ())
    ]
    blocks += [{"type": "text", "text": turn["text"]}] if "text" in turn else []
    for media_type, data in turn.get("images", ()):
        source = {"type": "base64", "media_type": media_type, "data": data}
        blocks.append({"type": "image", "source": source})
    for name, data, cites in turn.get("documents", ()):
        source = {"type": "base64", "media_type": "application/pdf", "data": data}
        block = {"type": "document", "title": name, "source": source}
        blocks.append(block | ({"citations": {"enabled": True}} if cites else {}))
    blocks += [{"type": "tool_use", "id": i, "name": n, "input": a} for i, n, a in turn.get("calls", ())]
    return [{"role": turn["role"], "content": blocks}]


def _bedrock(turn: Mapping[str, Any]) -> list[dict[str, Any]]:
    blocks = [*turn.get("first", ())]
    for i, text, is_error in turn.get("results", ()):
        content = [] if text is None else [{"text": text}]
        status = "error" if is_error else "success"
        blocks.append({"toolResult": {"toolUseId": i, "content": content, "status": status}})
    blocks += [{"text": turn["text"]}] if "text" in turn else []
    for media_type, data in turn.get("images", ()):
        blocks.append({"image": {"format": media_type.removeprefix("image/"), "source": {"bytes": data}}})
    for name, data, cites in turn.get("documents", ()):
        fields = {"format": "pdf", "name": name, "source": {"bytes": data}}
        blocks.append({"document": fields | ({"citations": {"enabled": True}} if cites else {})})
    blocks += [{"toolUse": {"toolUseId": i, "name": n, "input": a}} for i, n, a in turn.get("calls", ())]
    return [{"role": turn["role"], "content": blocks}]


def _chat(turn: Mapping[str, Any]) -> list[dict[str, Any]]:
    messages = [{"role": "tool", "tool_call_id": i, "content": text} for i, text, _ in turn.get("results", ())]
    content: Any = turn.get("text")
    urls = [url if url.startswith("https:") else f"data:{kind};base64,{url}" for kind, url in turn.get("images", ())]
    if urls:
        content = [{"type": "image_url", "image_url": {"url": url}} for url in urls]
    files = [(name, f"data:application/pdf;base64,{data}") for name, data, _ in turn.get("documents", ())]
    if files:
        content = [{"type": "file", "file": {"filename": name, "file_data": url}} for name, url in files]
    calls = [
        {"id": i, "type": "function", "function": {"name": n, "arguments": orjson.dumps(a).decode()}}
        for i, n, a in turn.get("calls", ())
    ]
    if content is not None or calls or not messages:
        fields: dict[str, Any] = {"tool_calls": calls, **THOUGHT} if calls else {}
        messages.append({"role": turn["role"], "content": content, **fields, **turn.get("raw", {})})
    return messages


def _responses(turn: Mapping[str, Any]) -> list[dict[str, Any]]:
    results = ({"type": "function_call_output", "call_id": i, "output": text} for i, text, _ in turn.get("results", ()))
    items = [{name: value for name, value in result.items() if value is not None} for result in results]
    urls = [url if url.startswith("https:") else f"data:{kind};base64,{url}" for kind, url in turn.get("images", ())]
    files = [(name, f"data:application/pdf;base64,{data}") for name, data, _ in turn.get("documents", ())]
    if urls or files or "text" in turn:
        parts: list[Any] = [{"type": "input_image", "image_url": url} for url in urls]
        parts += [{"type": "input_file", "filename": name, "file_data": url} for name, url in files]
        items.append({"role": turn["role"], "content": parts or turn["text"]})
    items += [
        {"type": "function_call", "call_id": i, "name": n, "arguments": orjson.dumps(a).decode()}
        for i, n, a in turn.get("calls", ())
    ]
    return [*items, *turn.get("items", ())]


THOUGHT: dict[str, Any] = {}
WRITERS = {"anthropic": _anthropic, "bedrock": _bedrock, "chat": _chat, "responses": _responses}


def loop(call: Any = CALL, result: Any = RESULT) -> dict[str, Any]:
    return {"turns": [QUESTION, {"role": "assistant", "calls": [call]}, {"role": "user", "results": [result]}, ANSWER]}


def said(*turns: Any) -> dict[str, Any]:
    return {"turns": list(turns)}


def with_schema(**schema: Any) -> dict[str, Any]:
    return {"tools": [("add", "Adds.", schema)], **said(QUESTION)}


def picture(kind: str, data: str) -> dict[str, Any]:
    return said({"role": "user", "images": [(kind, data)]})


def documents(*files: tuple[str, str, bool], role: str = "user") -> dict[str, Any]:
    """A message with text and documents: the name of each, its base64, and whether it is to be cited."""
    return {"role": role, "text": "Sum up.", "documents": files}


def asks(**fields: Any) -> dict[str, Any]:
    return {**fields, "additionalModelRequestFields": fields, **said(QUESTION)}


def item(**fields: Any) -> dict[str, Any]:
    """A conversation with this item of Responses before the last question."""
    return said(QUESTION, {"role": "assistant", "items": [fields]}, QUESTION)


FOREIGN = {
    "anthropic": {"type": "thinking", "thinking": "?", "signature": "x"},
    "bedrock": {"reasoningText": {"text": "?", "signature": "x"}},
}

OUTPUT: Mapping[str, Any] = {
    "anthropic": lambda schema: {"output_config": {"format": {"type": "json_schema", "schema": schema}}},
    "bedrock": lambda schema: {
        "outputConfig": {
            "textFormat": {
                "type": "json_schema",
                "structure": {"jsonSchema": {"schema": orjson.dumps(schema).decode()}},
            }
        }
    },
    "responses": lambda schema: {
        "text": {"format": {"type": "json_schema", "name": "r", "schema": schema, "strict": True}}
    },
    "chat": lambda schema: {
        "response_format": {"type": "json_schema", "json_schema": {"name": "r", "schema": schema, "strict": True}}
    },
}

BAD: Mapping[str, Mapping[str, Any]] = {
    "tools, by a model or server without them": {"tools": [("add", "Adds!", SCHEMA)], **said(QUESTION)},
    "a system message, by Gemma 2's chat template": {"system": ["Be brief."]},
    "an image, by a model that reads text only": picture("image/png", PNG),
    "`max_tokens`, by reasoning models": {"max_tokens": 9},
    "`stream_options`": {"stream_options": {}},
    "a temperature other than 1, by reasoning models": {"temperature": 0.5},
    "unknown fields of the request": {"frequency_penalty": 1},
    "fields that OpenAI does not know": {"thinking": {}},
    "fields that Gemini does not know": {"thinking": {}},
    "fields that Mistral does not know": {"max_completion_tokens": 9},
    "fields of a message that another provider made": said({**ANSWER, "raw": {"reasoning_content": "?"}}),
    "the same, by OpenAI": said({**ANSWER, "raw": {"reasoning_content": "?"}}),
    "a request without `max_tokens`, or below 1": {"max_tokens": 0},
    "what the service's own model of Converse does not take": {"max_tokens": 5},
    "more than the model's window": said({"role": "user", "text": "Add " * 99}),
    "a guardrail without its version, or with other characters": {"guardrailConfig": {"guardrailIdentifier": "g1"}},
    "no messages": said(),
    "blank text": said(QUESTION, {"role": "assistant", "text": " \n"}, QUESTION),
    "a blank system prompt": {"system": [" "]},
    "a message without content": said(QUESTION, {"role": "assistant"}, QUESTION),
    "an assistant's turn that neither says nor calls anything": said(QUESTION, {"role": "assistant", "text": " "}),
    "an empty list of tools or calls": {"empty": True},
    "a tool without words for its description": {"tools": [("add", "", SCHEMA)]},
    "a conversation that does not begin with the user": said(ANSWER, QUESTION),
    "two messages of one role in a row": said(QUESTION, QUESTION),
    "the same, by chat templates of models with tools": said(*LOOP, QUESTION),
    "the same, by Gemma's chat template": said(QUESTION, QUESTION),
    "a question directly after a tool's result": said(*LOOP, QUESTION),
    "an assistant's turn at the end": said(QUESTION, ANSWER),
    "a system message that is not the first": {"system": ["one", "two"]},
    "a call that does not follow the user or a result": said(QUESTION, ANSWER, *LOOP[1:]),
    "a call without its result": said(*LOOP[:2], QUESTION),
    "a number of results other than that of the calls": said(*LOOP[:2], QUESTION),
    "a result without its call directly before it": said(QUESTION, ANSWER, LOOP[2]),
    "two calls of a turn with one id": said(QUESTION, {"role": "assistant", "calls": [CALL, CALL]}, LOOP[2]),
    "one id for calls of several turns": said(*LOOP, *LOOP[1:]),
    "two results of one call": said(*LOOP[:2], {"role": "user", "results": [RESULT, RESULT]}),
    "anything before a result in its message": said(
        *LOOP[:2], {"role": "user", "first": [{"type": "text", "text": "Hm"}], "results": [RESULT]}
    ),
    "a result without content": loop(result=("toolu0001", None, False)),
    "a blank result": loop(result=("toolu0001", " ", False)),
    "a failed result without words": loop(result=("toolu0001", "", True)),
    "a call's name with other characters, empty or too long": loop(("toolu0001", "#lookUp", {})),
    "a call's name that begins with no letter": loop(("toolu0001", "9lives", {})),
    "a call's id with other characters": loop(("functions.add:3", "add", {})),
    "a call's id with other characters, or over 64 long": loop(("x" * 65, "add", {})),
    "a call's id over 40 long": loop(("x" * 41, "add", {})),
    "a call's id that is not nine letters or digits": loop(("x" * 8, "add", {})),
    "arguments of a call that are no JSON object": loop(("toolu0001", "add", [1])),
    "several calls in one turn, by Llama's chat template": said(QUESTION, {"role": "assistant", "calls": [CALL, CALL]}),
    "calls or results in the history while no tools are sent": {"tools": []},
    "a tool choice without tools": {"tools": [], "choice": "auto", **said(QUESTION)},
    "the choice of a tool that is not sent": {"choice": "subtract"},
    "two tools of one name": {"tools": [TOOL, TOOL]},
    "a tool's name with other characters, or over 64 long": {"tools": [("add.now", "Adds.", SCHEMA)]},
    "a tool's schema that is no object": with_schema(properties={}),
    "`anyOf`, `oneOf` or `allOf` at the top of a tool's schema": with_schema(type="object", anyOf=[{}]),
    "the same, `enum` or `not`, by OpenAI": with_schema(type="object", **{"not": {}}),
    "a property's name with other characters, or over 64 long": with_schema(type="object", properties={"$top": {}}),
    "a forced call while thinking": {"choice": "required"},
    "a temperature other than 1 while thinking": {"temperature": 0.5, "inferenceConfig": {"temperature": 0.5}},
    "a thinking budget below 1,024, or not below `max_tokens`": {
        "max_tokens": 100,
        "inferenceConfig": {"maxTokens": 100},
    },
    "a tool loop without the thinking that began it": said(*LOOP),
    "thinking of another model, or changed": {"foreign": True},
    "thinking that a model without it is sent": {"foreign": True},
    "calls without `reasoning_content` while thinking": said(*LOOP),
    "calls of the loop under way without their `thought_signature`": said(*LOOP),
    "the same, without `reasoning_details`": said(*LOOP),
    "the same, where the id carries the signature": said(*LOOP),
    "a schema of the answer, by a model that cannot be constrained": {"output": SCHEMA},
    "a schema of the answer that is open, recursive, too large or limits values": {"output": SCHEMA},
    "a schema of the answer that strict mode does not take, or that is no object": {"output": SCHEMA},
    "a thinking budget, by Claude since 4.7": asks(thinking={"type": "enabled", "budget_tokens": 2000}),
    "adaptive thinking or an effort, by Claude before 4.6": asks(output_config={"effort": "high"}),
    "temperature or top_p, by Claude since 4.7": {"temperature": 0.5},
    "thinking that is disabled, by Sonnet 5.5": asks(thinking={"type": "disabled"}),
    "a forced call, by Sonnet 5.5, Kimi and the smaller models of Bedrock": {"choice": "required"},
    "a forced call, by DeepSeek V4 while it thinks": {"choice": "required"},
    "calls without `reasoning_content` while thinking, by DeepSeek V4 and Kimi K3": said(*LOOP),
    **{
        f"a level of reasoning that {who} does not have": asks(
            reasoning_effort="extreme", output_config={"effort": "extreme"}
        )
        for who, *_ in LEVELS
    },
    **{f"fields of the model that {who} on Bedrock does not know": asks(depth=1) for who, *_ in MODEL_FIELDS},
    "fields that Responses does not know": {"reasoning_effort": "low"},
    "fields of an item that Responses does not know": item(role="assistant", content="3.", tool_calls=[]),
    "the id of an item that is not stored": item(type="reasoning", id="rs_1", summary=[]),
    "reasoning that neither a message nor a call follows": item(type="reasoning", summary=[]),
    "reasoning without its `summary`": item(type="reasoning", encrypted_content="gAAAA"),
    "encrypted reasoning of another account, or changed": item(type="reasoning", summary=[], encrypted_content="gAAAA"),
    "an assistant's message in the parts of a user's": item(
        role="assistant", content=[{"type": "input_text", "text": "3."}]
    ),
    "a tool in the shape of Chat Completions": {
        "tools": [],
        "fields": {"tools": [{"type": "function", "function": {"name": "add", "parameters": SCHEMA}}]},
    },
    "a tool that does not say `strict: false`, with a schema that is not strict": {
        "tools": [],
        "fields": {"tools": [{"type": "function", "name": "add", "parameters": SCHEMA}]},
    },
    "fewer than 16 output tokens": {"max_output_tokens": 15},
    "a call's id over 64 long": loop(("x" * 65, "add", {})),
    "more than four cache marks": {"marks": ["tools", "system", *["user"] * 3]},
    "a cache mark on thinking": {"marks": ["thinking"]},
    "a mark of an hour after one of five minutes": {"marks": ["tools", "system 1h"]},
    "a cache point that is the first of its list, or follows a document or a video": {"marks": ["first"]},
    "a cache point among the tools of Nova": {"marks": ["tools"]},
    "a cache point after a result or an image, by Nova": {"marks": ["result"]},
    "a cache point of an hour, by Nova": {"marks": ["system 1h"]},
    "an image of another type": picture("image/bmp", PNG),
    "an image that is not base64": picture("image/png", "?"),
    "a document that is no PDF, or none at all": said(documents(("a", "?", False))),
    "a document without a name": said(documents(("", PDF, False))),
    "any document, by servers that know none": said(documents(("a", PDF, False))),
    "a document that is not what its format says": said(documents(("a", PNG, False))),
    "a document's name with other signs than letters, digits, single spaces, hyphens and brackets": said(
        documents(("a.pdf", PDF, False))
    ),
    "two documents of one name": said(documents(("a", PDF, False), ("a", PDF, False))),
    "a document without text in its message": said({"role": "user", "documents": [("a", PDF, False)]}),
    "a document beside a tool's result, by Claude": said(*LOOP[:2], {**documents(("a", PDF, False)), **LOOP[2]}),
    "a document of the assistant's": said(QUESTION, documents(("a", PDF, False), role="assistant"), QUESTION),
    "more than 5 documents": said(documents(*[(f"a {number}", PDF, False) for number in range(6)])),
    "a document of more than 4.5 MB": said(documents(("a", PDF + "A" * 6_000_000, False))),
    "citations of a model that has none": said(documents(("a", PDF, True))),
    "citations of some documents, or beside a schema": said(documents(("a", PDF, True), ("b", PDF, False))),
    "an image by its URL": picture("image/png", "https://a.example/b.png"),
}
"""By the name of a rule, a request that breaks it."""


def marked(family: str, *places: str) -> dict[str, Any]:
    """A request with marks after `tools`, `system`, `user`, `thinking` or `result`; `first` is before a message."""
    dialect = FAMILIES[family].dialect
    thought = FOREIGN[dialect] if dialect == "anthropic" else {"reasoningContent": FOREIGN[dialect]}
    turns: list[dict[str, Any]] = [QUESTION, {"role": "assistant", "first": [thought]}, QUESTION, ANSWER, *LOOP]
    body = body_of(family, turns, system=["Be brief."])
    messages: list[list[Any]] = [message["content"] for message in body["messages"]]
    tools = body["toolConfig"]["tools"] if dialect == "bedrock" else body["tools"]
    lists = {"tools": tools, "system": body["system"], "thinking": messages[1], "result": messages[-1]}
    users = iter([messages[0], messages[2], messages[4]])
    for place, _, ttl in (each.partition(" ") for each in places):
        blocks = next(users) if place in {"user", "first"} else lists[place]
        mark = {"ttl": ttl} if ttl else {}
        if dialect == "anthropic":
            blocks[-1]["cache_control"] = {"type": "ephemeral", **mark}
        else:
            blocks.insert(0 if place == "first" else len(blocks), {"cachePoint": {"type": "default", **mark}})
    return body


def broken(rule: Rule, family: str) -> dict[str, Any]:
    fields = dict(BAD[rule.name])
    if output := fields.pop("output", None):
        fields = OUTPUT[FAMILIES[family].dialect](output)
    others: dict[str, Any] = fields.pop("fields", {})
    if "marks" in fields:
        return marked(family, *fields["marks"])
    if fields.pop("empty", False):
        body = body_of(family, [QUESTION], [])
        return body | ({"toolConfig": {"tools": []}} if FAMILIES[family].dialect == "bedrock" else {"tools": []})
    if fields.pop("foreign", False):
        dialect = FAMILIES[family].dialect
        turn: dict[str, Any]
        if dialect == "chat":
            turn = {**ANSWER, "raw": {"thinking_blocks": [FOREIGN["anthropic"]]}}
        else:
            block = FOREIGN[dialect]
            turn = {**ANSWER, "first": [{"reasoningContent": block} if dialect == "bedrock" else block]}
        fields = said(QUESTION, turn, QUESTION)
    if family == "bedrock-nova" and "inferenceConfig" in fields:
        fields.pop("max_tokens", None)
    return body_of(family, **fields) | others


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_each_rule_refuses_what_it_names(rule: Rule) -> None:
    for family in rule.families:
        body = broken(rule, family)
        thinks = FAMILIES[family].thinks(body)
        request = read_request(family, FAMILIES[family].dialect, body, Given(), thinks=thinks, window=99)
        assert rule in [refusal.rule for refusal in refusals(request)], family


@pytest.mark.parametrize("family", FAMILIES)
def test_a_good_request_breaks_no_rule(family: str) -> None:
    has_images, has_system = family != "deepseek", family != "vllm-gemma"
    turns: list[Any] = [QUESTION, ANSWER, {"role": "user", "images": [("image/png", PNG)]} if has_images else QUESTION]
    if FAMILIES[family].has_tools and not FAMILIES[family].reasoning:
        turns = [*LOOP, ANSWER, QUESTION]
    body = body_of(family, turns, system=["Be brief."] if has_system else [])
    thinks = FAMILIES[family].thinks(body)
    request = read_request(family, FAMILIES[family].dialect, body, Given(), thinks=thinks)
    assert list(refusals(request)) == []


def row(rule: Rule) -> str:
    """The rule's row in docs/reference/providers.md."""
    families = set(rule.families)
    who = "all" if families == set(FAMILIES) else ", ".join(name for name in FAMILIES if name in families)
    note = " (inferred)" if rule.inferred else ""
    return f"| {rule.name} | {who} | {rule.status} | {rule.source}{note} | {rule.does} |"


def test_the_page_lists_every_rule_and_no_other() -> None:
    section = PAGE.read_text(encoding="utf-8").partition("## What providers refuse\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (?!---)(?!refused \|).*\|$", section, re.MULTILINE)
    assert rows == [row(rule) for rule in RULES]


def test_the_page_names_every_family() -> None:
    section = PAGE.read_text(encoding="utf-8").partition("## What providers refuse\n")[2]
    listed = re.findall(r"^- `([a-z-]+)`: ", section, re.MULTILINE)
    assert listed == list(FAMILIES)
