"""Argument validation: arguments fit the schema, or one sentence tells the model what to fix; nothing is guessed."""

import contextlib
import json
from typing import Annotated, Any, Literal

import jsonschema  # type: ignore[import-untyped]  # has no type stubs
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Meta

from winterbourne.chat.errors import ToolError
from winterbourne.chat.tool_runtime.schema import parameters_schema
from winterbourne.chat.tool_runtime.validation import ArgumentValidator


class Leg(msgspec.Struct):
    origin: str
    seats: int = 1


class Car(msgspec.Struct, tag="car"):
    wheels: int = 4


class Boat(msgspec.Struct, tag="boat"):
    sails: int


class Trip(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    city: Annotated[str, Meta(min_length=1, max_length=5)]
    days: Annotated[int, Meta(ge=1, le=7)] = 1
    mode: Literal["fast", "slow"] = "fast"
    legs: list[Leg] = []
    vehicle: Car | Boat | None = None
    notes: dict[str, Leg] = {}
    note: str | None = "none given"


SCHEMA = parameters_schema(Trip, {})
validate = ArgumentValidator("plan", Trip, SCHEMA)


def validation_error(text: str) -> str:
    with pytest.raises(ToolError) as raised:
        validate(text)
    message = str(raised.value)
    assert message.startswith("The arguments of plan do not fit its schema: ")
    assert message.endswith("; fix that and call it again.")
    return message.removeprefix("The arguments of plan do not fit its schema: ").removesuffix(
        "; fix that and call it again."
    )


def test_valid_arguments_are_converted() -> None:
    trip = validate(
        '{"city":"Lima","legs":[{"origin":"CDG"}],"vehicle":{"type":"boat","sails":2},"notes":{"a":{"origin":"x"}}}'
    )
    assert trip == Trip(city="Lima", legs=[Leg("CDG")], vehicle=Boat(2), notes={"a": Leg("x")})


def test_empty_text_means_no_arguments() -> None:
    assert validation_error("") == "object missing required field `city`, at `$`"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"city":"Lima"', "the text is not valid JSON (input data was truncated), at `$`"),
        ('{"city":"Lima"}}', "the text is not valid JSON (JSON is malformed: trailing characters (byte 16)), at `$`"),
        ('{"city":NaN}', "the text is not valid JSON (JSON is malformed: invalid character (byte 8)), at `$`"),
        ('{"city":"\ud800"}', "the JSON text contains a lone surrogate, at `$`"),
        ("[" * 100_000, "the JSON text is nested too deep, at `$`"),
        ("[]", "expected `object`, got `array`, at `$`"),
        ('"city"', "expected `object`, got `str`, at `$`"),
        ('{"city":5}', "expected `str`, got `int`, at `$.city`"),
        ('{"city":"Lima","days":"3"}', "expected `int`, got `str`, at `$.days`"),
        ('{"city":"Lima","days":true}', "expected `int`, got `bool`, at `$.days`"),
        ('{"city":"Lima","days":null}', "expected `int`, got `null`, at `$.days`"),
        ('{"city":"Lima","days":9}', "expected `int` <= 7, at `$.days`"),
        ('{"city":"Lima!!"}', "expected `str` of length <= 5, at `$.city`"),
        ('{"city":"Lima","mode":"warp"}', "invalid enum value 'warp', at `$.mode`"),
        ('{"city":"Lima","legs":[{}]}', "object missing required field `origin`, at `$.legs[0]`"),
        ('{"city":"Lima","vehicle":{"type":"plane"}}', "invalid value 'plane', at `$.vehicle.type`"),
        ('{"city":"Lima","city":"Paris"}', "the field `city` is given twice, at `$..city`"),
        ('{"city":"Lima","legs":[{"origin":"a","origin":"a"}]}', "the field `origin` is given twice, at `$..origin`"),
    ],
)
def test_invalid_arguments_are_reported_with_their_path(text: str, expected: str) -> None:
    assert validation_error(text) == expected


def test_as_many_fields_as_a_body_may_have_block_nobody() -> None:
    """Were they compared with one another, that would take minutes."""
    fields = json.dumps({f"no{number}": 1 for number in range(80_000)})
    assert validation_error(fields).startswith("unknown field `no0`")


@pytest.mark.parametrize("depth", [100, 400, 900, 20_000])
def test_any_depth_of_nesting_gives_a_clear_error(depth: int) -> None:
    assert validation_error("[" * depth + "]" * depth) in {
        "expected `object`, got `array`, at `$`",
        "the JSON text is nested too deep, at `$`",
    }


@pytest.mark.parametrize(
    ("text", "field", "path"),
    [
        ('{"city":"Lima","dayz":2}', "dayz", "$"),
        ('{"city":"Lima","legs":[{"origin":"a"},{"origin":"b","seat":2}]}', "seat", "$.legs[1]"),
        ('{"city":"Lima","vehicle":{"type":"car","sails":2}}', "sails", "$.vehicle"),
        ('{"city":"Lima","notes":{"x":{"origin":"a","seat":1}}}', "seat", "$.notes.x"),
    ],
)
def test_an_unknown_field_is_found_on_every_level_and_the_known_ones_are_named(
    text: str, field: str, path: str
) -> None:
    error = validation_error(text)
    assert error.startswith(f"unknown field `{field}` (the fields are `")
    assert error.endswith(f"), at `{path}`")


json_values: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-9, 9)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=8,
)
legs = st.fixed_dictionaries({"origin": st.text(max_size=3)}, optional={"seats": st.integers(0, 3), "x": json_values})
nearly_valid = st.fixed_dictionaries(
    {"city": st.text(max_size=6) | json_values},
    optional={
        "days": st.integers(0, 8) | json_values,
        "mode": st.sampled_from(["fast", "slow", "warp"]),
        "legs": st.lists(legs, max_size=2) | json_values,
        "vehicle": st.fixed_dictionaries(
            {"type": st.sampled_from(["car", "boat"])}, optional={"sails": st.integers(0, 2), "wheels": json_values}
        ),
        "note": json_values,
        "unknown": json_values,
    },
)


@given(nearly_valid | json_values)
def test_accepts_exactly_what_its_schema_accepts(value: Any) -> None:
    fits = jsonschema.Draft202012Validator(SCHEMA).is_valid(value)
    try:
        validate(json.dumps(value))
    except ToolError:
        assert not fits
    else:
        assert fits


@given(st.text(max_size=60) | st.text(alphabet='{}[]":,\\u0d8ntrfals 1e-.', max_size=60))
def test_any_text_is_accepted_or_rejected_with_a_tool_error(text: str) -> None:
    with contextlib.suppress(ToolError):
        validate(text)


class Counted(msgspec.Struct):
    count: int


class Numbers(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    whole: int = 0
    optional: int | None = None
    either: int | float = 0
    real: float = 0
    flag: bool = False
    one_of: Literal[1, 2] = 1
    listed: list[int] = []
    pair: tuple[Counted, int] | None = None
    named: dict[str, Counted] = {}


_numbers = ArgumentValidator("numbers", Numbers, parameters_schema(Numbers, {}))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"whole":2.0}', Numbers(whole=2)),
        ('{"whole":-3e2}', Numbers(whole=-300)),
        ('{"optional":2.0}', Numbers(optional=2)),
        ('{"one_of":2.0}', Numbers(one_of=2)),
        ('{"listed":[1.0,2]}', Numbers(listed=[1, 2])),
        ('{"pair":[{"count":1.0},2.0]}', Numbers(pair=(Counted(1), 2))),
        ('{"named":{"a":{"count":1.0}}}', Numbers(named={"a": Counted(1)})),
    ],
)
def test_a_whole_number_is_an_integer_on_every_level_however_it_is_written(text: str, expected: Numbers) -> None:
    found = _numbers(text)
    assert found == expected
    assert msgspec.json.encode(found) == msgspec.json.encode(expected)


def test_a_float_stays_one_where_the_schema_has_both() -> None:
    found = _numbers('{"either":2.0,"real":3.0}')
    assert [type(value) for value in (found.either, found.real)] == [float, float]


@pytest.mark.parametrize(
    "text",
    [
        '{"whole":2.5}',
        '{"whole":1e300}',
        '{"whole":9007199254740993.0}',
        '{"flag":1.0}',
        '{"whole":"2"}',
        '{"one_of":3.0}',
    ],
)
def test_no_other_number_is_one(text: str) -> None:
    with pytest.raises(ToolError, match="do not fit its schema"):
        _numbers(text)


def test_null_means_no_arguments_if_none_is_required() -> None:
    assert _numbers("null") == Numbers()
    with pytest.raises(ToolError, match="do not fit its schema"):
        ArgumentValidator("count", Counted, parameters_schema(Counted, {}))("null")
