"""Docstring parsing: the description, and what Google style says of each parameter."""

from hypothesis import given
from hypothesis import strategies as st

from winterbourne.chat.tool_runtime.docstring import Docstring, parse

GOOGLE = """The weather in a city.

    For now
    and later.

    Args:
        city: Where, with as many
            words as it takes.
        days (int): How many: one to seven.
        *more: The rest.

    Returns:
        A forecast.
    """


def test_description_and_parameters_are_found() -> None:
    docstring = parse(GOOGLE)
    assert docstring.description == "The weather in a city.\n\nFor now and later."
    assert docstring.parameters == {
        "city": "Where, with as many words as it takes.",
        "days": "How many: one to seven.",
        "more": "The rest.",
    }


def test_a_docstring_without_sections_is_all_description() -> None:
    assert parse("One line.") == Docstring("One line.", {})


def test_a_word_with_a_colon_is_not_a_section() -> None:
    assert parse("Note this: it is text.\n\nBeware:\n    still text.").parameters == {}


def test_an_empty_docstring_has_an_empty_description() -> None:
    assert parse("") == Docstring("", {})


@given(st.text(alphabet=st.sampled_from("abc :-\n\t()*_ArgsParameters"), max_size=200))
def test_any_text_can_be_parsed(text: str) -> None:
    docstring = parse(text)
    assert all(name.isidentifier() or name.isalnum() for name in docstring.parameters)


@given(
    st.dictionaries(
        st.from_regex(r"[a-z]\w{0,8}", fullmatch=True), st.from_regex(r"[a-z][a-z ,.]{0,30}[a-z]", fullmatch=True)
    )
)
def test_google_style_round_trips(parameters: dict[str, str]) -> None:
    lines = [f"    {name}: {text}" for name, text in parameters.items()]
    found = parse("\n".join(["Do it.", "", "Args:", *lines])).parameters
    assert found == {name: " ".join(text.split()) for name, text in parameters.items()}
