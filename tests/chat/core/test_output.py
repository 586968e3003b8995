"""Structured output: what a model is told of a schema, and the valid JSON in what it says."""

import json
from typing import Any
from unittest.mock import ANY

import jsonschema  # type: ignore[import-untyped]  # has no type stubs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.chat.fakes import FakeProvider, RecordingEmit, SleepingTools, Step
from tests.clock import jumping
from winterbourne.chat.core.conversation import Conversation
from winterbourne.chat.core.events import StopReason, TextDelta, TurnEnded
from winterbourne.chat.core.messages import ChatRequest, OutputSchema, Text, UserMessage
from winterbourne.chat.core.output import check_schema, find_json, with_instructions
from winterbourne.chat.errors import InvalidOutput, RequestRejected

CITY = OutputSchema(
    schema={"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    description="where it is",
)
REQUEST = ChatRequest(messages=(UserMessage((Text("Where?"),)),), output=CITY)


DOUBLING = {f"d{at}": {"anyOf": [{"$ref": f"#/$defs/d{at + 1}"}] * 2} for at in range(40)} | {"d40": {"type": "string"}}
"""To validate by this takes 2 ** 40 steps."""
AGAIN = {"properties": {"a": {"$ref": "#"}}}
NESTED = '{"a":' * 40 + '{"z":1}' + "}" * 40
MANY_TEXTS = json.dumps(["a" * 40 + "!"] * 2000)
NOT_VALID = "it is not valid by the schema"


class TestFindJson:
    @pytest.mark.parametrize(
        "text",
        [
            '{"city":"Paris"}',
            ' \n{"city":"Paris"}\n',
            '```json\n{"city":"Paris"}\n```',
            '```\n{"city":"Paris"}\n```',
            'Here you are:\n```json\n{"city":"Paris"}\n```\nAnything else?',
            'First\n```python\nprint()\n```\nthen\n```json\n{"city":"Paris"}\n```',
            'Here: ```json\r\n{"city":"Paris"}\r\n  ```.',
        ],
    )
    def test_takes_valid_json_without_what_is_around_it(self, text: str) -> None:
        assert find_json(CITY, text) == ('{"city":"Paris"}', "")

    @pytest.mark.parametrize(
        ("text", "problem"),
        [
            ("", "it is no JSON"),
            ('{"city":"Pa', "it is no JSON"),
            ('{"city":"Paris"} or so', "it is no JSON"),
            ('{"city":"\ud800"}', "it is no JSON"),
            ("[" * 100_000, "it is no JSON"),
            ("{}", '"city" is a required property at $'),
            ('{"city":3}', '3 is not of type "string" at $.city'),
        ],
    )
    def test_tells_the_model_what_is_wrong(self, text: str, problem: str) -> None:
        assert find_json(CITY, text)[0] == ""
        assert problem in find_json(CITY, text)[1]

    def test_names_the_place_within_lists(self) -> None:
        output = OutputSchema(schema={"type": "array", "items": {"type": "object", "required": ["a"]}})
        assert find_json(output, '[{"a": 1}, {}]')[1].endswith("at $[1]")

    def test_without_a_schema_takes_any_object_and_nothing_else(self) -> None:
        assert find_json(OutputSchema(), '{"a": [1]}') == ('{"a": [1]}', "")
        assert find_json(OutputSchema(), "[1]")[1]

    def test_a_pattern_cannot_hold_up_the_event_loop(self) -> None:
        """`re` would try 2 ** 40 ways."""
        output = OutputSchema(schema={"pattern": r"^(?=(a+)+$)(?!(a|aa)+\1b)(a|aa)+$"})
        assert find_json(output, json.dumps("a" * 40 + "!"))[1]

    @pytest.mark.parametrize("text", ["```\n" + "\n" * 50_000, "```\na" * 20_000, " ```" * 20_000])
    def test_neither_can_blank_lines_or_many_fences(self, text: str) -> None:
        """Models write blank lines without an end where they are held to JSON."""
        assert find_json(CITY, text)[1]

    @pytest.mark.parametrize(
        ("schema", "text"),
        [
            ({"anyOf": [{**AGAIN, "required": [f"b{at}"]} for at in range(2)]}, NESTED),
            ({"oneOf": [AGAIN, {**AGAIN, "required": ["a"]}]}, NESTED),
            ({"anyOf": [AGAIN, AGAIN], "unevaluatedProperties": False}, NESTED),
            ({"items": {"allOf": [{"pattern": f"^(?!x)(a|aa)+(?=b{at})"} for at in range(2000)]}}, MANY_TEXTS),
            ({"$schema": "http://json-schema.org/draft-04/schema#", "then": {"$ref": []}}, "1"),
        ],
    )
    def test_a_schema_that_takes_very_long_is_not_tried(self, schema: dict[str, Any], text: str) -> None:
        """Where it leads back to itself in two ways, each level of the answer would double the time."""
        assert find_json(OutputSchema(schema=schema), text) == ("", ANY)

    def test_a_long_report_is_not_made(self) -> None:
        """Each error in it has a copy of all that is wrong: the process would run out of memory."""
        schema = {"anyOf": [{"type": "string", "title": str(at)} for at in range(5000)]}
        assert find_json(OutputSchema(schema=schema), json.dumps(["x" * 10] * 20_000))[1] == NOT_VALID

    @pytest.mark.parametrize("depth", [1, 60])
    def test_an_answer_may_be_long_and_nested(self, depth: int) -> None:
        node = {"properties": {"of": {"anyOf": [{"items": {"$ref": "#"}}, {"type": "null"}]}, "on": {"type": "string"}}}
        text = '{"on":"x","of":[' * depth + '{"on":"y"}' + "]}" * depth
        rows = json.dumps({"on": "x", "of": [{"on": "y", "of": None}] * 5000})
        output = OutputSchema(schema={**node, "additionalProperties": {"$ref": "#"}})
        assert find_json(output, text) == (text, "")
        assert find_json(output, rows) == (rows, "")


class TestCheckSchema:
    @pytest.mark.parametrize(
        "schema",
        [
            {"type": "text"},
            {"pattern": "("},
            {"$ref": "#/$defs/missing"},
            {"$ref": "http://127.0.0.1:9/schema"},
            {"$ref": "file:///etc/passwd"},
            {"$schema": "https://example.com/other"},
            {"items": [{"type": "string"}]},
            {"$ref": "other.json"},
            {"$ref": "#anchor", "$defs": {"a": {"$anchor": "anchor"}}},
            {"properties": {"a": {"$dynamicRef": "#a", "$dynamicAnchor": "a"}}},
            {"properties": {"a": {"$id": "https://example.com/a", "$ref": "#/$defs/b", "$defs": {"b": {}}}}},
            {"$ref": "#/$defs/d0", "$defs": DOUBLING},
            {"patternProperties": 3},
            {"$ref": "#"},
            {"$schema": "http://json-schema.org/draft-04/schema#", "$ref": "#/then", "then": {"$ref": []}},
            {"allOf": [{"pattern": f"(?:a{{1,1000}}){{1,{at}}}"} for at in range(20, 320)]},
        ],
    )
    def test_rejects_what_nothing_can_be_validated_by(self, schema: dict[str, Any]) -> None:
        with pytest.raises(RequestRejected) as raised:
            check_schema(OutputSchema(schema=schema), "response_format")
        assert (raised.value.status, raised.value.code) == (400, "invalid_schema")
        assert raised.value.public_message.startswith("response_format: ")

    def test_takes_a_schema_that_leads_back_to_itself(self) -> None:
        tree = {"properties": {"kinds/of~it": {"type": "array", "items": {"$ref": "#/properties/kinds~1of~0it"}}}}
        check_schema(OutputSchema(schema={**tree, "additionalProperties": {"$ref": "#"}}), "schema")

    @pytest.mark.parametrize(
        "schema",
        [
            *(None, {}, {"$schema": "http://json-schema.org/draft-07/schema#"}),
            {"properties": {"pattern": {"type": "string"}, "patternProperties": True, "$ref": {"type": "string"}}},
            {"pattern": r"^[\p{L}\p{N} .,'-]{1,200}$"},
        ],
    )
    def test_takes_every_draft(self, schema: dict[str, Any] | None) -> None:
        check_schema(OutputSchema(schema=schema), "schema")


class TestWithInstructions:
    def test_come_after_the_system_prompt_and_have_the_schema(self) -> None:
        system = with_instructions(ChatRequest(messages=(), output=CITY, system="Be brief.")).system or ""
        assert system.startswith("Be brief.\n\n")
        assert json.loads(system.splitlines()[-1]) == CITY.schema
        assert "(where it is)" in system

    def test_are_given_once(self) -> None:
        once = with_instructions(REQUEST)
        assert with_instructions(once) == once

    def test_of_any_object_name_json(self) -> None:
        """OpenAI refuses `json_object` where no message has that word."""
        assert "JSON object" in (with_instructions(ChatRequest(messages=(), output=OutputSchema())).system or "")

    def test_are_none_for_text(self) -> None:
        assert with_instructions(ChatRequest(messages=())).system is None


TEXTS = st.text(max_size=3)
SCALARS: st.SearchStrategy[Any] = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXTS
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3)
)
TYPES = st.sampled_from(["object", "array", "string", "number", "integer", "boolean", "null"])
SCHEMAS = st.recursive(
    st.fixed_dictionaries({}, optional={"type": TYPES, "minimum": st.integers(-3, 3), "maxLength": st.integers(0, 2)})
    | st.builds(lambda values: {"enum": values}, st.lists(SCALARS, min_size=1, max_size=3)),
    lambda inner: (
        st.builds(
            lambda properties, required, extra: {
                "type": "object",
                "properties": properties,
                "required": required,
                "additionalProperties": extra,
            },
            st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
            st.lists(st.sampled_from("abc"), unique=True),
            st.booleans(),
        )
        | st.builds(lambda items: {"type": "array", "items": items, "maxItems": 2}, inner)
        | st.builds(lambda parts: {"anyOf": parts}, st.lists(inner, min_size=1, max_size=2))
    ),
    max_leaves=5,
)


@st.composite
def model_texts(draw: st.DrawFn) -> str:
    """Valid JSON or not, whole or cut, alone or in a fence or among words."""
    text = json.dumps(draw(VALUES))
    text = text[: draw(st.integers(0, len(text)))] if draw(st.booleans()) else text
    around = ("{}", "```json\n{}\n```", "Here:\n```\n{}\n```", "{} is it", "{} {}")
    return draw(st.sampled_from(around)).replace("{}", text)


@given(SCHEMAS, st.lists(model_texts(), min_size=1, max_size=2), st.sampled_from(["stop", "max_tokens", "refusal"]))
def test_every_answer_is_valid_by_its_schema_or_an_error(
    schema: dict[str, Any], texts: list[str], reason: StopReason
) -> None:
    emitted = RecordingEmit()
    turns: list[list[Step]] = [
        [*([TextDelta(piece)] for piece in (text[:2], text[2:]) if piece), [TurnEnded(reason)]]
        for text in (*texts, texts[0])
    ]

    @jumping
    async def run() -> None:
        await Conversation(
            request=ChatRequest(messages=REQUEST.messages, output=OutputSchema(schema=schema)),
            provider=FakeProvider(*turns),
            tools=SleepingTools(),
            emit=emitted,
            on_usage=lambda _: None,
            max_turns=9,
        ).run()

    error = None
    try:
        run()
    except InvalidOutput as raised:
        error = raised
    said = "".join(event.text for event in emitted if isinstance(event, TextDelta))
    if error:
        assert (said, reason in str(error)) == ("", True)
    else:
        jsonschema.Draft202012Validator(schema).validate(json.loads(said))
    if is_valid(schema, texts[0].strip()):
        assert said == texts[0].strip()


def is_valid(schema: dict[str, Any], text: str) -> bool:
    try:
        return bool(jsonschema.Draft202012Validator(schema).is_valid(json.loads(text)))
    except ValueError:
        return False
