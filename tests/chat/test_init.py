"""The package `winterbourne.chat`: its exports, and what importing it loads."""

import textwrap

import pytest

import winterbourne.chat
from tests.chat.processes import run


@pytest.mark.parametrize("name", winterbourne.chat.__all__)
def test_every_public_name_exists(name: str) -> None:
    assert getattr(winterbourne.chat, name).__name__ == name


def test_a_misspelt_name_is_an_error() -> None:
    with pytest.raises(AttributeError, match=r"'winterbourne\.chat' has no attribute 'tol'"):
        _ = winterbourne.chat.tol  # type: ignore[attr-defined]  # that is what is tested


def test_importing_the_runtime_imports_neither_httpx_nor_the_chat() -> None:
    assert modules_after("import winterbourne") == []


def test_importing_the_package_imports_none_of_its_modules() -> None:
    assert modules_after("import winterbourne.chat") == ["winterbourne.chat"]


def modules_after(code: str) -> list[str]:
    print_modules = """
        import sys
        print(*(name for name in sys.modules if name == "httpx" or name.startswith("winterbourne.chat")))
    """
    return run(f"{code}\n{textwrap.dedent(print_modules)}", preamble="").split()
