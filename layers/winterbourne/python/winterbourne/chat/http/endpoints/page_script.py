"""The chat page's modules as one script: each a function that returns its exports, after those that it imports.

The modules stay what browsers, editors and tests know. Comments, spaces and line ends that only people need are
left out. That relies on how the modules are written: a semicolon ends each statement.
"""

import re
from pathlib import Path
from typing import Final

from winterbourne.chat.http.endpoints.page_names import shorten_names

__all__ = ["bundle_scripts", "tightened"]

IMPORT: Final = re.compile(r'^import (\{[^}]*\}) from "\./(\w+)\.js";\n', re.MULTILINE)
EXPORT: Final = re.compile(r"^export ((?:async )?(?:function\*?|class|const|let) (\w+))", re.MULTILINE)

# What is no code: comments, strings, templates, with one more of these within them, and regular expressions.
STRING: Final = r"\"(?:[^\"\\\n]|\\.)*\"|'(?:[^'\\\n]|\\.)*'"
OPERAND: Final = r"[\w)\]}\"'`]"  # after which a slash divides
REGEX: Final = rf"(?:(?<=return )|(?<!{OPERAND} )(?<!{OPERAND}))/(?![/*])(?:[^/\\\n\[]|\\.|\[(?:[^\]\\\n]|\\.)*\])+/"
INNER: Final = r"`(?:[^`\\$]|\\.|\$(?!\{)|\$\{[^{}`]*\})*`"
HOLE: Final = rf"\$\{{(?:{REGEX}|{STRING}|{INNER}|\{{[^{{}}]*\}}|[^{{}}`\"'])*\}}"
TEMPLATE: Final = rf"`(?:[^`\\$]|\\.|\$(?!\{{)|{HOLE})*`"
COMMENT: Final = r"(?<!\S)//[^\n]*|/\*(?s:.*?)\*/"
NO_CODE: Final = re.compile(rf"((?=[\"'`/])(?:{COMMENT}|{STRING}|{TEMPLATE}|{REGEX}))")

# Where spaces and line ends say nothing: before and after these signs. A literal is a NUL.
TIGHT: Final = (
    (re.compile(r"[ \n]+(?=[,;:?=&|)\]}.])"), ""),
    (re.compile(r"(?<=[{(\[,;:?=&|<>!*])[ \n]+"), ""),
    (re.compile(r" +(?=[{(\[<>!*\0\n])|(?<=[)\]}\0\n]) +"), ""),
    (re.compile(r"(?<![+-]) ([+-]) (?![+-])"), r"\1"),
    (re.compile(r"\n{2,}"), "\n"),
    (re.compile(r";(?=\})"), ""),
)


def bundle_scripts(folder: Path, *names: str) -> str:
    """The script of the modules of these names in the folder, and of those that they import."""
    found = dict[str, str]()
    for name in names:
        _in_order(folder, name, found)
    return tightened("".join(_as_function(name, text) for name, text in found.items()))


def _in_order(folder: Path, name: str, found: dict[str, str]) -> None:
    """Find the module and those that it imports, each after what it imports itself."""
    if name in found:
        return
    text = (folder / f"{name}.js").read_text()
    for _, imported in IMPORT.findall(text):
        _in_order(folder, imported, found)
    found[name] = text


def _as_function(name: str, text: str) -> str:
    exports = ", ".join(exported for _, exported in EXPORT.findall(text))
    body = EXPORT.sub(r"\1", IMPORT.sub(r"const \1 = \2_js;\n", text))
    return f"const {name}_js = (() => {{\n{body}\nreturn {{ {exports} }};\n}})();\n"


def tightened(script: str) -> str:
    """The script without its comments, and what only people need between its words and signs."""
    code, literals = "", []
    for at, part in enumerate(NO_CODE.split(script)):
        if at % 2 == 0:
            code += part
        elif not part.startswith(("//", "/*")):
            code += "\0"
            literals.append(part)
    for spaces, instead in TIGHT:
        code = spaces.sub(instead, code)
    code = shorten_names(code, literals)
    first, *pieces = code.split("\0")
    return first + "".join(literal + piece for literal, piece in zip(literals, pieces, strict=True))
