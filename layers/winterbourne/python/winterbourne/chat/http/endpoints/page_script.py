"""The chat page's modules as one script: each after those that it imports, all in one scope.

The modules stay what browsers, editors and tests know. What only people need is left out: comments, spaces, line ends
and long names of variables. That relies on how they are written: a semicolon ends each statement, and what a module
declares outside its functions has a name that no other module gives anything there, nor the browser.
"""

import re
from pathlib import Path
from typing import Final

from winterbourne.chat.http.endpoints.page_names import shorten_names

__all__ = ["bundle_scripts", "shortened"]

IMPORT: Final = re.compile(r'^import \{[^}]*\} from "\./(\w+)\.js";\n', re.MULTILINE)
EXPORT: Final = re.compile(r"^export ", re.MULTILINE)

# What is no code: comments, strings, templates, with one more of these within them, and regular expressions.
STRING: Final = r"\"(?:[^\"\\\n]|\\.)*\"|'(?:[^'\\\n]|\\.)*'"
OPERAND: Final = r"[\w)\]}\"'`]"  # after which a slash divides
REGEX: Final = rf"(?:(?<=return )|(?<!{OPERAND} )(?<!{OPERAND}))/(?![/*])(?:[^/\\\n\[]|\\.|\[(?:[^\]\\\n]|\\.)*\])+/"
INNER: Final = r"`(?:[^`\\$]|\\.|\$(?!\{)|\$\{[^{}`]*\})*`"
HOLE: Final = rf"\$\{{(?:{REGEX}|{STRING}|{INNER}|\{{[^{{}}]*\}}|[^{{}}`\"'])*\}}"
TEMPLATE: Final = rf"`(?:[^`\\$]|\\.|\$(?!\{{)|{HOLE})*`"
HOLES: Final = re.compile(rf"(?<!\\)({HOLE})")
COMMENT: Final = r"(?<!\S)//[^\n]*|/\*(?s:.*?)\*/"
NO_CODE: Final = re.compile(rf"((?=[\"'`/])(?:{COMMENT}|{STRING}|{TEMPLATE}|{REGEX}))")

# Where spaces and line ends say nothing, and what has a shorter form. A literal is a NUL.
TIGHT: Final = (
    (re.compile(r"(?<![\w$.])true(?![\w$:])"), "!0"),
    (re.compile(r"(?<![\w$.])false(?![\w$:])"), "!1"),
    (re.compile(r"[ \n]+(?=[,;:?=&|)\]}.])"), ""),
    (re.compile(r"(?<=[{(\[,;:?=&|<>!*])[ \n]+"), ""),
    (re.compile(r" +(?=[{(\[<>!*\0\n])|(?<=[)\]}\0\n]) +"), ""),
    (re.compile(r"(?<![+-]) (?=[+-])|(?<=[+-]) (?![+-])"), ""),
    (re.compile(r"(?<=[)}\n])\n+"), ""),
    (re.compile(r";(?=\})|(?<![\[,]),(?=[\])}])"), ""),
    (re.compile(r"(?<=[\w)\]]) / (?=[\w(])"), "/"),
    (re.compile(r"(?<![\w$.])const(?=[ [{])"), "let"),
    (re.compile(r"(?<![\w$])\(([\w$]+)\)(?==>)"), r"\1"),
)

SIGN: Final = re.compile(r"([;(){}\[\]])")
OPENING, CLOSING = frozenset("([{"), frozenset(")]}")
LET: Final = re.compile(r"let\b ?")


def bundle_scripts(folder: Path, *names: str) -> str:
    """The script of the modules of these names in the folder, and of those that they import."""
    found = dict[str, str]()
    for name in names:
        _in_order(folder, name, found)
    return shortened("".join(EXPORT.sub("", IMPORT.sub("", text)) for text in found.values()))


def _in_order(folder: Path, name: str, found: dict[str, str]) -> None:
    """Find the module and those that it imports, each after what it imports itself."""
    if name in found:
        return
    text = (folder / f"{name}.js").read_text()
    for imported in IMPORT.findall(text):
        _in_order(folder, imported, found)
    found[name] = text


def shortened(script: str) -> str:
    """The script without its comments and what only people need between its words and signs, with short names."""
    code, literals = _split(script)
    for spaces, instead in TIGHT:
        code = spaces.sub(instead, code)
    first, *pieces = _joined(shorten_names(code)).split("\0")
    return first + "".join(literal + piece for literal, piece in zip(literals, pieces, strict=True))


def _joined(code: str) -> str:
    """The code, in which declarations that follow each other are one."""
    parts = SIGN.split(code)
    declares = [False]  # whether the statement does, in each open bracket
    for at, part in enumerate(parts):
        if part in OPENING:
            declares.append(False)
        elif part in CLOSING:
            declares.pop()
        elif LET.match(part):
            declares[-1] = True
        elif part == ";":
            if declares[-1] and LET.match(parts[at + 1]):
                parts[at], parts[at + 1] = ",", LET.sub("", parts[at + 1], count=1)
            else:
                declares[-1] = False
    return "".join(parts)


def _split(script: str) -> tuple[str, list[str]]:
    """The code, with a NUL for each literal, and the literals; a template is several of them, and code between."""
    code, literals = "", list[str]()
    for at, part in enumerate(NO_CODE.split(script)):
        if at % 2 == 0:
            code += part
        elif part.startswith("`"):
            text, *more = HOLES.split(part)
            for hole, following in zip(more[::2], more[1::2], strict=True):
                inner, within = _split(hole[2:-1])
                code += f"\0{inner}"
                literals += [f"{text}${{", *within]
                text = f"}}{following}"
            code += "\0"
            literals.append(text)
        elif not part.startswith(("//", "/*")):
            code += "\0"
            literals.append(part)
    return code, literals
