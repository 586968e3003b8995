"""SETTINGS: any variables go in and come out as they were, and what it cannot mean is an error that shows no value."""

import os
import string

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from winterbourne.chat.errors import SettingsError
from winterbourne.chat.settings import Settings
from winterbourne.chat.settings_variable import unpack_settings

NAMES = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]*", fullmatch=True).filter(lambda name: name != "SETTINGS")
VALUES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")).map(str.strip)
SPACE = st.text(string.whitespace, max_size=3)


def unpacked(text: str, **environ: str) -> dict[str, str]:
    variables = {**environ, "SETTINGS": text}
    unpack_settings(variables)
    del variables["SETTINGS"]
    return variables


def error_of(text: str) -> str:
    with pytest.raises(SettingsError) as caught:
        unpacked(text)
    return str(caught.value)


def packed(variables: dict[str, str]) -> str:
    """As the documents say that it is written."""
    return ";".join(f"{name}={value.replace(';', ';;')}" for name, value in variables.items())


class TestWhatItCarries:
    @given(st.dictionaries(NAMES, VALUES))
    def test_comes_out_as_it_went_in(self, variables: dict[str, str]) -> None:
        assume(not any(name.startswith(("AWS_", "LAMBDA_", "_")) for name in variables))
        assert unpacked(packed(variables)) == variables

    @given(VALUES, SPACE, SPACE, SPACE, SPACE)
    def test_is_the_same_with_white_space_around_it(self, value: str, a: str, b: str, c: str, d: str) -> None:
        doubled = value.replace(";", ";;")
        assert unpacked(f"{a}ONE{b}={c}{doubled}{d};{a}TWO=2{b};{c}") == {"ONE": value, "TWO": "2"}

    @given(st.text())
    def test_is_variables_or_an_error_whatever_the_text(self, text: str) -> None:
        try:
            variables = unpacked(text)
        except SettingsError:
            return
        assert all(name.isidentifier() and name.isascii() for name in variables)

    @pytest.mark.parametrize(
        ("text", "variables"),
        [
            ("", {}),
            (" ; \n ;", {}),
            ("MAX_TURNS=6", {"MAX_TURNS": "6"}),
            ("MAX_TURNS=6;", {"MAX_TURNS": "6"}),
            (";MAX_TURNS=6", {"MAX_TURNS": "6"}),
            ("A=1; ;B=2", {"A": "1", "B": "2"}),
            ("A=x=y;B==", {"A": "x=y", "B": "="}),
            ("A=;B=2", {"A": "", "B": "2"}),
            ("A=x;;y;B=z;;;C=;;", {"A": "x;y", "B": "z;", "C": ";"}),
            ("SYSTEM_PROMPT=Say “ahoy”.\nThen 'help'.", {"SYSTEM_PROMPT": "Say “ahoy”.\nThen 'help'."}),
            ('MCP_TOKENS={"a": "b"}', {"MCP_TOKENS": '{"a": "b"}'}),
            ("max_turns=6", {"max_turns": "6"}),
            ("AWS_BEARER_TOKEN_BEDROCK=k;AWS_ENDPOINT_URL_LAMBDA=http://x", None),
            ("A=" + 4000 * "ä", {"A": 4000 * "ä"}),
        ],
    )
    def test_is_read_as_documented(self, text: str, variables: dict[str, str] | None) -> None:
        expected = variables if variables is not None else dict(entry.split("=", 1) for entry in text.split(";"))
        assert unpacked(text) == expected


class TestTheEnvironment:
    def test_has_no_less_than_before_without_the_variable(self) -> None:
        environ = {"MAX_TURNS": "6"}
        unpack_settings(environ)
        assert environ == {"MAX_TURNS": "6"}

    def test_wins_where_a_variable_has_a_value(self) -> None:
        assert unpacked("MAX_TURNS=6;MODEL_ID=b", MAX_TURNS="7", MODEL_ID="") == {"MAX_TURNS": "7", "MODEL_ID": "b"}

    def test_is_the_same_after_a_second_time(self) -> None:
        environ = {"SETTINGS": "MAX_TURNS=6;A=x;;y"}
        unpack_settings(environ)
        first = dict(environ)
        unpack_settings(environ)
        assert environ == first

    def test_is_the_process_s_own_too(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("SETTINGS", "A_VARIABLE_OF_A_TOOL=ahoy;MAX_TURNS=6")
        for name in ("A_VARIABLE_OF_A_TOOL", "MAX_TURNS"):
            monkeypatch.setenv(name, "")
        unpack_settings(os.environ)
        assert os.environ["A_VARIABLE_OF_A_TOOL"] == "ahoy"
        assert Settings.from_environment(os.environ).stream.max_turns == 6


class TestAnError:
    @pytest.mark.parametrize(
        ("text", "number"),
        [
            ("sesame", 1),
            ("A=1;sesame", 2),
            ("A=1; ;;sesame=1", 2),
            ("=sesame", 1),
            ("A=1;B=2;two words=sesame", 3),
            ("1A=sesame", 1),
            ("A-B=sesame", 1),
            ("Ä=sesame", 1),
            ('"A=sesame"', 1),
            ("A\n B=sesame", 1),
        ],
    )
    def test_of_an_entry_gives_its_number_and_never_what_it_says(self, text: str, number: int) -> None:
        assert f"entry {number} " in error_of(text)
        assert "sesame" not in error_of(text)

    def test_of_a_name_that_is_there_twice_gives_the_name(self) -> None:
        assert error_of("MAX_TURNS=6;A=1;MAX_TURNS=7") == "SETTINGS: MAX_TURNS is there twice"

    @pytest.mark.parametrize(
        "name",
        [
            *("_HANDLER", "_X_AMZN_TRACE_ID", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_EXECUTION_ENV"),
            *("AWS_ACCESS_KEY", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"),
            *("AWS_LAMBDA_FUNCTION_NAME", "AWS_LAMBDA_RUNTIME_API", "AWS_LAMBDA_EXEC_WRAPPER"),
            *("LAMBDA_TASK_ROOT", "LAMBDA_RUNTIME_DIR", "AWS_CONTAINER_CREDENTIALS_FULL_URI"),
        ],
    )
    def test_of_a_name_that_lambda_reserves_gives_the_name(self, name: str) -> None:
        assert error_of(f"A=1;{name}=sesame") == f"SETTINGS: {name} is reserved by Lambda"

    def test_leaves_the_environment_as_it_was(self) -> None:
        environ = {"SETTINGS": "MAX_TURNS=6;sesame"}
        with pytest.raises(SettingsError):
            unpack_settings(environ)
        assert environ == {"SETTINGS": "MAX_TURNS=6;sesame"}
