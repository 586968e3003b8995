"""Tool declaration: a typed function with a docstring becomes a tool."""

import enum
from collections.abc import AsyncGenerator, Generator
from typing import Annotated, Any, Literal, TypedDict

import jsonschema  # type: ignore[import-untyped]  # has no type stubs
import msgspec
import pytest
from msgspec import Meta

from winterbourne.chat.errors import InvalidToolDeclaration
from winterbourne.chat.tool_runtime.context import ToolContext
from winterbourne.chat.tool_runtime.declaration import Tool, ToolOptions, tool


class Class(enum.Enum):
    ECONOMY = "economy"
    FIRST = "first"


class Leg(msgspec.Struct):
    """One flight."""

    origin: str
    target: str
    seats: int = 1


class Car(msgspec.Struct, tag="car"):
    wheels: int = 4


class Boat(msgspec.Struct, tag="boat"):
    sails: int


class Extras(TypedDict, total=False):
    meal: str


@tool
async def book(
    legs: list[Leg],
    cabin: Class,
    currency: Literal["EUR", "USD"],
    passengers: Annotated[int, Meta(ge=1, le=9, description="How many fly.")] = 1,
    code: Annotated[str, Meta(max_length=6, pattern="^[A-Z]+$")] | None = None,
    transfer: Car | Boat | None = None,
    extras: Extras | None = None,
    *,
    context: ToolContext,
) -> str:
    """Book a journey.

    Args:
        legs: Its flights, in order.
        passengers: This is not shown: the type says it.
        code: A voucher.
        context: Not for the model.
    """
    return context.request_id


class TestSchema:
    schema: Any = book.schema.parameters

    def test_has_names_types_required_and_defaults(self) -> None:
        assert self.schema["required"] == ["legs", "cabin", "currency"]
        assert list(self.schema["properties"]) == [
            "legs", "cabin", "currency", "passengers", "code", "transfer", "extras",
        ]  # fmt: skip
        assert self.schema["properties"]["passengers"]["default"] == 1
        assert self.schema["properties"]["currency"] == {"enum": ["EUR", "USD"]}
        assert self.schema["properties"]["legs"]["items"] == {"$ref": "#/$defs/Leg"}

    def test_has_limits_and_descriptions_from_the_types_and_from_the_docstring(self) -> None:
        passengers = self.schema["properties"]["passengers"]
        assert (passengers["minimum"], passengers["maximum"], passengers["description"]) == (1, 9, "How many fly.")
        assert self.schema["properties"]["legs"]["description"] == "Its flights, in order."
        assert self.schema["properties"]["code"]["anyOf"][0] == {
            "type": "string",
            "maxLength": 6,
            "pattern": "^[A-Z]+$",
        }
        assert self.schema["$defs"]["Class"]["enum"] == ["economy", "first"]

    def test_allows_no_additional_properties_on_any_level(self) -> None:
        assert self.schema["additionalProperties"] is False
        assert all(
            part["additionalProperties"] is False for part in self.schema["$defs"].values() if "properties" in part
        )

    def test_is_a_valid_json_schema(self) -> None:
        jsonschema.Draft202012Validator.check_schema(book.schema.parameters)

    def test_leaves_out_the_context(self) -> None:
        assert "context" not in str(self.schema)

    def test_the_description_is_the_docstring_without_its_sections(self) -> None:
        assert (book.name, book.description) == ("book", "Book a journey.")


class TestTool:
    def test_has_its_declared_options(self) -> None:
        @tool(name="other-name", timeout_s=2, retries=1, needs=["SHOP_API_KEY"])
        async def some() -> None:
            """Some."""

        assert some.name == "other-name"
        assert some.options == ToolOptions(timeout_s=2, retries=1, needs=("SHOP_API_KEY",))

    def test_is_blocking_only_if_it_is_a_plain_function(self) -> None:
        def plain() -> None:
            """Plain."""

        async def coroutine() -> None:
            """Coroutine."""

        async def generator() -> AsyncGenerator[int, None]:
            """Generator."""
            yield 1

        def plain_generator() -> Generator[int, None, None]:
            """Yield."""
            yield 1

        functions = (plain, coroutine, generator, plain_generator)
        assert [tool(function).blocking for function in functions] == [True, False, False, True]

    def test_can_still_be_called_as_the_function_that_it_was(self) -> None:
        @tool(timeout_s=2)
        def add(a: int, b: int = 1) -> int:
            """Add."""
            return a + b

        assert (add(2), add(2, b=3)) == (3, 5)
        with pytest.raises(TypeError, match="no function behind the tool add"):
            msgspec.structs.replace(add, function=None)(2)

    def test_can_be_built_without_a_function_from_a_validator_and_a_call(self) -> None:
        async def call(arguments: Any, _: ToolContext) -> Any:
            return arguments

        external = Tool(
            name="far",
            description="Far away.",
            parameters={"type": "object"},
            validate_arguments=msgspec.json.decode,
            call=call,
        )
        assert external.schema.name == "far"
        assert external.options == ToolOptions()


async def no_docstring() -> None:
    pass


async def many(*values: int) -> None:
    """Many."""


async def untyped(value) -> None:  # type: ignore[no-untyped-def]  # noqa: ANN001 - rejected by `tool`
    """Untyped."""


async def positional(value: int, /) -> None:
    """Positional."""


async def impossible(value: object | int | list[Leg] | tuple[Leg]) -> None:
    """A type that JSON cannot tell apart."""


async def unknown(value: "Nowhere") -> None:  # type: ignore[name-defined]  # noqa: F821 - rejected by `tool`
    """An annotation that names nothing."""


async def fine() -> None:
    """Fine."""


class TestInvalidDeclaration:
    @pytest.mark.parametrize(
        ("function", "reason"),
        [
            (no_docstring, "needs a docstring"),
            (many, "cannot be passed by name"),
            (untyped, "needs a type"),
            (positional, "cannot be passed by name"),
            (impossible, "parameters of tool impossible"),
            (unknown, "annotations of tool unknown"),
        ],
    )
    def test_a_function_that_cannot_be_a_tool_is_rejected_with_the_reason(self, function: Any, reason: str) -> None:
        with pytest.raises(InvalidToolDeclaration, match=reason):
            tool(function)

    @pytest.mark.parametrize(
        ("options", "reason"),
        [
            ({"timeout_s": 0}, "Option timeout_s of tool fine: expected float > 0.0"),
            ({"timeout": 5}, "Tool fine has no option timeout; there are approval, .*, batch, .*, timeout_s"),
            ({"timeout_s": "5"}, "Option timeout_s of tool fine"),
            ({"needs": "SHOP_API_KEY"}, "Option needs of tool fine: expected array"),
            ({"needs": None}, "Option keys or needs of tool fine"),
            ({"keys": "SHOP_API_KEY"}, "Option keys of tool fine: expected array"),
            ({"keys": [1]}, r"Option keys\[0\] of tool fine"),
            ({"retries": 99}, "retries"),
            ({"max_result_bytes": 1}, "max_result_bytes"),
            ({"concurrency": 0}, "concurrency"),
            ({"cache_ttl": 3}, "cache_ttl"),
            ({"name": "two words"}, "not a valid tool name"),
            ({"batch": len}, "must be an async function"),
        ],
    )
    def test_an_invalid_option_is_named_in_the_error(self, options: Any, reason: str) -> None:
        with pytest.raises(InvalidToolDeclaration, match=reason):
            tool(**options)(fine)
