"""Short names for the variables of a script, so that a page that has its scripts within it is small.

Each variable's name becomes another everywhere, so that no scopes need to be known. Names of properties stay, and so do
those that are not declared here: they are the browser's. Of these, some become variables. A name that is variable and
property at once becomes both.
"""

import re
from collections import Counter
from collections.abc import Collection, Iterator
from itertools import islice, product
from typing import Final

__all__ = ["ALIASED", "BROWSER", "shorten_names"]

PART: Final = re.compile(r"[A-Za-z_$][\w$]*|\d[\w.]*|\.\.\.|\?\.(?!\d)|=>|[^\w$]")
NAME: Final = re.compile(r"[A-Za-z_$]")
FIRST: Final = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"

LANGUAGE: Final = (
    "arguments as async await break case catch class const continue default delete do else export extends false "
    "finally for from function get if import in instanceof let new null of return set static super switch this throw "
    "true try typeof var void while with yield"
)
KEYWORDS: Final = frozenset(LANGUAGE.split())

WINDOW: Final = (
    "addEventListener alert atob blur btoa caches chrome close closed confirm console constructor crypto "
    "customElements dispatchEvent document escape eval event external fence fetch find focus frames history indexedDB "
    "innerHeight innerWidth length localStorage location locationbar menubar moveBy moveTo name navigation navigator "
    "open opener origin parent performance personalbar print prompt reportError scheduler screen scroll scrollbars "
    "scrollBy scrollTo scrollX scrollY self sessionStorage status statusbar stop toolbar top unescape viewport "
    "visualViewport when window"
)
BROWSER: Final = frozenset(WINDOW.split())
"""What a browser has, too: a variable of such a name in one place may be the browser's in another."""

ALIASED: Final = frozenset(
    ["JSON", "Object", "Promise", "addEventListener", "document", "encodeURIComponent", "location", "undefined"]
)
"""What every script has and may say so often that a variable is shorter. No page ever has another in its place."""

DECLARING: Final = frozenset(("const", "let", "var", "function", "class"))
CONTROL: Final = frozenset(("if", "for", "while", "switch"))
MODIFIERS: Final = frozenset(("get", "set", "async", "static"))
# Of objects and classes: after what a property's name stands, and before what.
MEMBERS: Final = {"object": ("{", ","), "class": ("{", ";", "}")}
ENDS: Final = {"object": (":", "("), "class": ("(", "=", ";", "}")}
BEFORE_OBJECT: Final = frozenset((*"(,=:[?&|", "...", "const", "let", "return", "yield", "await"))
BEFORE_PATTERN: Final = frozenset((*"(,[{:", "..."))


def shorten_names(code: str) -> str:
    """The code, in which a literal is a NUL, with short names of its variables: the most frequent get the shortest."""
    parts: list[str] = PART.findall(code)
    reader = _Reader(parts)
    counts, doubled = (Counter(parts[at] for at in places) for places in (reader.variables, reader.doubles))
    costs = {name: len(name) + 4 for name in ALIASED}
    names = (reader.declared - BROWSER - KEYWORDS) | ALIASED
    gains = {name: counts[name] * (len(name) - 2) - doubled[name] * 3 - costs.get(name, 0) for name in names}
    long = sorted((name for name, gain in gains.items() if gain > 0), key=lambda name: (-counts[name], name))
    kept = KEYWORDS | BROWSER | (counts.keys() | doubled.keys()) - set(long)
    short = dict(zip(long, islice(_short_names(kept), len(long)), strict=True))
    for at in reader.variables:
        parts[at] = short.get(parts[at], parts[at])
    for at in reader.doubles:
        parts[at] = f"{parts[at]}:{short[parts[at]]}" if parts[at] in short else parts[at]
    _shorten_private(parts)
    aliases = ",".join(f"{short[name]}={name}" for name in sorted(ALIASED) if name in short)
    return "".join([*([f"let {aliases};"] if aliases else []), *parts])


def _shorten_private(parts: list[str]) -> None:
    """Short names of what only a class knows, as in `this.#name`: they are names of their own."""
    places = [at for at in range(1, len(parts)) if parts[at - 1] == "#"]
    counts = Counter(parts[at] for at in places)
    short = dict(zip((name for name, _ in counts.most_common()), _short_names(()), strict=False))
    for at in places:
        parts[at] = short[parts[at]]


def _short_names(kept: Collection[str]) -> Iterator[str]:
    rest = f"{FIRST}0123456789"
    names = ("".join(each) for length in range(3) for each in product(FIRST, *[rest] * length))
    return (name for name in names if name not in kept)


class _Frame:
    """An open bracket: its kind, what stands before it, and the names in it that are variables if it is a pattern."""

    __slots__ = ("before", "kind", "names")

    def __init__(self, kind: str, before: str) -> None:
        self.kind = kind
        self.before = before
        self.names: list[str] = []


class _Reader:
    """Reads the parts of a script.

    Attributes:
        variables: Where variables are.
        doubles: Where one name is that of a variable and of a property: `{name}`.
        declared: The names that are declared.
    """

    def __init__(self, parts: list[str]) -> None:
        self.variables: list[int] = []
        self.doubles: list[int] = []
        self.declared: set[str] = set()
        self._frames = [_Frame("block", "")]
        self._is_class = False
        self._before = self._last = ""
        solid = [at for at, part in enumerate(parts) if not part.isspace()]
        for at, after in zip(solid, [*(parts[at] for at in solid[1:]), ""], strict=True):
            part = parts[at]
            if part in "([{":
                self._open(part)
            elif part in ")]}":
                self._close(after)
            elif part == "class":
                self._is_class = after != ":"
            elif NAME.match(part) and part not in KEYWORDS and self._last not in {".", "?.", "#"}:
                self._name(at, part, after)
            self._before, self._last = self._last, part

    def _open(self, bracket: str) -> None:
        kind = bracket
        if bracket == "{":
            kind = "class" if self._is_class else "object" if self._last in BEFORE_OBJECT else "block"
            self._is_class = False
        self._frames.append(_Frame(kind, self._last))

    def _close(self, after: str) -> None:
        """What a bracket tells of the names in it: they are parameters, a pattern, part of one, or nothing."""
        frame = self._frames.pop()
        is_function = after == "=>" or (after == "{" and frame.before not in CONTROL)
        if frame.kind in {"[", "object"} and frame.before in BEFORE_PATTERN:
            self._frames[-1].names += frame.names
        elif frame.before in DECLARING or (frame.kind == "(" and is_function):
            self.declared.update(frame.names)

    def _name(self, at: int, name: str, after: str) -> None:
        frame, last = self._frames[-1], self._last
        if self._is_property(frame.kind, after):
            return
        if frame.kind == "object" and last in {"{", ","} and after in {",", "}", "="}:
            self.doubles.append(at)
        else:
            self.variables.append(at)
        if last in DECLARING or after == "=>" or (last == "*" and self._before == "function"):
            self.declared.add(name)
        elif last in BEFORE_PATTERN:
            frame.names.append(name)

    def _is_property(self, kind: str, after: str) -> bool:
        starts = MEMBERS.get(kind, ())
        is_generator = self._last == "*" and (self._before in starts or self._before in MODIFIERS)
        return after in ENDS.get(kind, ()) and (self._last in starts or self._last in MODIFIERS or is_generator)
