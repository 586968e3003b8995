"""What `winterbourne.chat` exports, and what importing it costs."""

import textwrap

import pytest

import winterbourne.chat
from tests.chat.processes import run


@pytest.mark.parametrize("name", winterbourne.chat.__all__)
def test_every_public_name_is_there(name: str) -> None:
    assert getattr(winterbourne.chat, name).__name__ == name


def test_a_misspelt_name_is_an_error() -> None:
    with pytest.raises(AttributeError, match=r"'winterbourne\.chat' has no attribute 'tol'"):
        _ = winterbourne.chat.tol  # type: ignore[attr-defined]


def test_importing_the_runtime_imports_neither_httpx_nor_the_chat() -> None:
    assert imported("import winterbourne") == []


def test_the_package_alone_imports_nothing_of_the_engine() -> None:
    assert imported("import winterbourne.chat") == ["winterbourne.chat"]


def imported(code: str) -> list[str]:
    seen = """
        import sys
        print(*(name for name in sys.modules if name == "httpx" or name.startswith("winterbourne.chat")))
    """
    return run(f"{code}\n{textwrap.dedent(seen)}", begin="").split()
