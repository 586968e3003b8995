"""Shorter names for the variables of the chat page's script, which are a fourth of its bytes.

A name is replaced everywhere or nowhere, by one that the script does not have, so scopes need not be known: only which
words are variables and which are properties. What is not certain to be a variable keeps its name. The code has no
spaces that only people need, and a NUL in place of each literal.
"""

import itertools
import re
import string
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

__all__ = ["shorten_names"]

TOKEN: Final = re.compile(r"[{}()\[\]]|(?<![\w$#])(?<!(?<!\.)\.)[A-Za-z_$][\w$]*")
WORD_BEFORE: Final = re.compile(r"[a-z]+$")
CLASS_BEFORE: Final = re.compile(r"(?<!\w)class(?: \w+)?(?: extends [\w.]+)?$")
CONTROL_BEFORE: Final = re.compile(r"(?<![\w.])(?:if|for|while|switch|await)$")
DECLARED_BEFORE: Final = re.compile(r"(?:const|let|class|function\*?|catch\()[ *]?$")

KEYWORDS: Final = re.compile(
    "async|await|break|case|catch|class|const|continue|default|delete|do|else|extends|false|finally|for|function|get|if|"
    "in|instanceof|let|new|null|of|return|set|static|super|switch|this|throw|true|try|typeof|undefined|void|while|yield"
)
# Names of the browser's own that the script also gives to variables.
BROWSERS: Final = frozenset(
    ("event", "find", "frames", "history", "length", "location", "name", "open", "origin", "parent", "status", "stop")
) | {"top", "when"}

LETTERS: Final = string.ascii_letters + "_"
MODIFIERS: Final = ("async", "get", "set", "static")


class _Word(NamedTuple):
    """A name in variable position; `is_short` if it is a property too, as in `{ name }`."""

    start: int
    end: int
    text: str
    is_short: bool


def shorten_names(code: str, literals: Sequence[str]) -> str:
    """The code with short names for what it declares."""
    words, declared = _read(code)
    within = re.findall(r"\w+", " ".join(each for each in literals if each.startswith("`")))
    taken = {*re.findall(r"[\w$]+", code), *within}
    count = Counter(word.text for word in words if word.text in declared)
    kept = BROWSERS | set(within)
    longest = (name for name, _ in count.most_common() if len(name) > 2 and name not in kept)
    short = dict(zip(longest, _new_names(taken), strict=False))
    return "".join(_pieces(code, words, short))


def _new_names(taken: set[str]) -> Iterator[str]:
    pairs = itertools.product(LETTERS, LETTERS + string.digits)
    return (name for name in itertools.chain(LETTERS, map("".join, pairs)) if name not in taken)


def _pieces(code: str, words: Sequence[_Word], short: dict[str, str]) -> Iterator[str]:
    done = 0
    for start, end, text, is_short in words:
        if new := short.get(text):
            yield f"{code[done:start]}{text}:{new}" if is_short else f"{code[done:start]}{new}"
            done = end
    yield code[done:]


def _read(code: str) -> tuple[list[_Word], set[str]]:
    """The variables of the code, and those names that are declared somewhere."""
    words, declared = list[_Word](), set[str]()
    opened: list[tuple[str, int, bool]] = [("{", 0, False)]  # kind of bracket, words before it, whether it declares
    for match in TOKEN.finditer(code):
        sign, start, end = match[0], match.start(), match.end()
        if sign in "([":
            kind = "control" if CONTROL_BEFORE.search(code, max(0, start - 6), start) else sign
            opened.append((kind, len(words), _declares(code, start)))
        elif sign == "{":
            opened.append((_kind_of_brace(code, start), len(words), _declares(code, start)))
        elif sign in ")]}":
            kind, first, declares = opened.pop()
            if declares or (kind == "(" and _is_parameters(code, start)):
                declared.update(word.text for word in words[first:] if not word.text[0].isupper())
        elif not KEYWORDS.fullmatch(sign) and (word := _as_word(code, start, end, sign, opened[-1][0])) is not None:
            words.append(word)
            if DECLARED_BEFORE.search(code, max(0, start - 10), start):
                declared.add(sign)
    return words, declared


def _declares(code: str, start: int) -> bool:
    return code.endswith(("const", "let", "const ", "let "), max(0, start - 6), start)


def _is_parameters(code: str, end: int) -> bool:
    return code.startswith(("=>", "{"), end + 1)


def _kind_of_brace(code: str, start: int) -> str:
    """`object` also for a pattern, else `class` or `block`."""
    before = code[start - 1 : start]
    if before.isalnum() or before in "_$ ":
        if CLASS_BEFORE.search(code, max(0, start - 60), start):
            return "class"
        word = WORD_BEFORE.search(code, max(0, start - 8), start)
        return "object" if word and word[0] in {"return", "const", "let", "of", "in", "yield"} else "block"
    is_arrow = code[start - 2 : start] == "=>"
    return "object" if before and before in "(,[=:?&|." and not is_arrow else "block"


def _as_word(code: str, start: int, end: int, sign: str, kind: str) -> _Word | None:
    """The sign if it is a variable; None if it names a property."""
    before, after = code[start - 1 : start], code[end : end + 1]
    if before == " " and code.endswith(MODIFIERS, max(0, start - 7), start - 1):
        before = "," if kind == "object" else ";"
    if kind == "object" and before in {"{", ",", "*"}:
        if after in {":", "("} or (after == " " and sign in MODIFIERS):
            return None
        return _Word(start, end, sign, after in {",", "}", "="})
    if kind == "class" and before in {"{", ";", "}", "\n", "*"} and after in {"(", "=", ";", "\n", "}"}:
        return None
    return _Word(start, end, sign, is_short=False)
