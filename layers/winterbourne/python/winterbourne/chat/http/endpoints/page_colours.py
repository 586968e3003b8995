"""Colours of the chat page: an accent that can be read, and the contrast of those that a chat names itself.

A colour is a pair of `#rrggbb`, for light and for dark.

Source: https://www.w3.org/TR/WCAG22/#dfn-contrast-ratio, https://bottosson.github.io/posts/oklab/
"""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final, TypeAlias

from winterbourne.chat.errors import SettingsError

__all__ = ["contrast", "make_variables", "page_variables"]

Colour: TypeAlias = tuple[str, str]
Colours: TypeAlias = Mapping[str, Colour]

STYLES: Final = Path(__file__).parents[2] / "page" / "styles" / "10_base.css"

HEX: Final = "#(?:[0-9a-fA-F]{3}){1,2}"
VARIABLE: Final = re.compile(r"(--\w+): ([^;]+);")
PAIR: Final = re.compile(rf"light-dark\(({HEX}), ?({HEX})\)|({HEX})")
FAMILY: Final = r"(\"[\w .-]{1,60}\"|[A-Za-z][\w-]*( [A-Za-z][\w-]*){0,5})"
FONT: Final = re.compile(rf"{FAMILY}(, ?{FAMILY}){{0,11}}", re.ASCII)

GROUNDS: Final = ("--paper", "--raised", "--wash")
TEXT: Final = 4.5
LINE: Final = 3.0
NEEDED: Final = {
    **{(ink, ground): TEXT for ink in ("--ink", "--soft", "--water", "--rust") for ground in GROUNDS},
    **{(ink, ground): LINE for ink in ("--bright", "--bed") for ground in ("--paper", "--raised")},
}
"""The contrast that a colour needs on another: of text, and of lines that say something."""

SCHEMES: Final = ("light", "dark")

MIDDLE: Final = 0.18
"""The luminance of a ground on which black and white have the same contrast."""
GREY: Final = 0.0005
"""A chroma that nobody sees."""
TINY: Final = 0.0001

# Linear sRGB to what the cones of an eye receive, the cube roots of that to lightness and two axes of colour, and back.
TO_CONES: Final = (
    (0.4122214708, 0.5363325363, 0.0514459929),
    (0.2119034982, 0.6806995451, 0.1073969566),
    (0.0883024619, 0.2817188376, 0.6299787005),
)
TO_LAB: Final = (
    (0.2104542553, 0.7936177850, -0.0040720468),
    (1.9779984951, -2.4285922050, 0.4505937099),
    (0.0259040371, 0.7827717662, -0.8086757660),
)
FROM_LAB: Final = (
    (1, 0.3963377774, 0.2158037573),
    (1, -0.1055613458, -0.0638541728),
    (1, -0.0894841775, -1.2914855480),
)
FROM_CONES: Final = (
    (4.0767416621, -3.3077115913, 0.2309699292),
    (-1.2684380046, 2.6097574011, -0.3413193965),
    (-0.0041960863, -0.7034186147, 1.7076147010),
)


def make_variables(accent: str, styles: Mapping[str, str]) -> dict[str, str]:
    """The page's variables that are not its own: those of the accent colour, if there is one, and of `styles`.

    Raises:
        SettingsError: There is no such variable, its value is invalid, or what is written in a colour cannot be read.
    """
    own = page_variables()
    if unmet := [text for name, value in styles.items() if (text := _mistake(own, name, value))]:
        raise SettingsError(f"styles: {'; '.join(unmet)}")
    changed = _colours(styles)
    colours = {**_colours(own), **changed}
    if accent:
        changed = _accented(_full(accent), colours, changed)
        colours |= changed
    if faint := list(_faint(colours, changed)):
        raise SettingsError(f"styles: {'; '.join(faint)}")
    return {**styles, **{name: f"light-dark({light}, {dark})" for name, (light, dark) in changed.items()}}


def page_variables() -> dict[str, str]:
    """The page's own variables, as its styles write them."""
    return dict(VARIABLE.findall(STYLES.read_text()))


def contrast(one: str, other: str) -> float:
    """The contrast of two colours, from 1 to 21."""
    dark, light = sorted(map(_luminance, (one, other)))
    return (light + 0.05) / (dark + 0.05)


def _mistake(own: Mapping[str, str], name: object, value: object) -> str:
    if name not in own:
        return f"there is no {name}, only {', '.join(sorted(own))}"
    is_colour = PAIR.fullmatch(own[str(name)])
    if not (PAIR if is_colour else FONT).fullmatch(str(value)):
        expected = "#rrggbb or light-dark(#rrggbb, #rrggbb)" if is_colour else "names of fonts, with commas"
        return f"{name}: expected {expected}"
    return ""


def _colours(variables: Mapping[str, str]) -> dict[str, Colour]:
    found = ((name, PAIR.fullmatch(value)) for name, value in variables.items())
    return {name: (_full(each[1] or each[3]), _full(each[2] or each[3])) for name, each in found if each}


def _full(colour: str) -> str:
    return f"#{''.join(2 * digit for digit in colour[1:])}" if len(colour) == 4 else colour


def _faint(colours: Colours, changed: Colours) -> Iterable[str]:
    """What has too little contrast, of the pairs that a chat has changed."""
    for (ink, ground), needed in NEEDED.items():
        for scheme, one, other in zip(SCHEMES, colours[ink], colours[ground], strict=True):
            if {ink, ground} & changed.keys() and (found := contrast(one, other)) < needed:
                yield f"{ink} on {ground} has a contrast of {found:.2f}:1 in {scheme}, and needs {needed}:1"


def _accented(accent: str, colours: Colours, own: Colours) -> dict[str, Colour]:
    """The accent as ground, as text and as line: its hue, made lighter or darker where that could not be read."""
    _, chroma, hue = _to_oklch(accent)
    wash = _to_hex(0.96, min(chroma, 0.02), hue), _to_hex(0.27, min(chroma, 0.03), hue)
    grounds = {**colours, "--wash": own.get("--wash", wash)}

    def readable(name: str) -> Colour:
        pairs = [(grounds[ground], ratio) for (ink, ground), ratio in NEEDED.items() if ink == name]
        light, dark = ([(ground[scheme], ratio) for ground, ratio in pairs] for scheme in (0, 1))
        return _readable(accent, light), _readable(accent, dark)

    return {"--water": readable("--water"), "--bright": readable("--bright"), "--wash": wash, **own}


def _readable(colour: str, grounds: Sequence[tuple[str, float]]) -> str:
    """The colour, as much lighter or darker as it takes to have these contrasts on these grounds."""
    lightness, chroma, hue = _to_oklch(colour)
    step = -0.01 if _luminance(grounds[0][0]) > MIDDLE else 0.01
    while 0 <= lightness <= 1 and any(contrast(colour, ground) < ratio for ground, ratio in grounds):
        lightness += step
        colour = _to_hex(lightness, chroma, hue)
    return colour


def _luminance(colour: str) -> float:
    red, green, blue = _linear(colour)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _linear(colour: str) -> list[float]:
    parts = (int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5))
    return [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]


def _to_oklch(colour: str) -> tuple[float, float, float]:
    cones = (math.cbrt(each) for each in _times(TO_CONES, _linear(colour)))
    lightness, a, b = _times(TO_LAB, list(cones))
    return lightness, math.hypot(a, b), math.atan2(b, a)


def _to_hex(lightness: float, chroma: float, hue: float) -> str:
    """The colour of that lightness and hue, with as much of the chroma as a screen can show."""
    lightness = min(max(lightness, 0.0), 1.0)
    while True:
        lab = [lightness, chroma * math.cos(hue), chroma * math.sin(hue)]
        linear = _times(FROM_CONES, [each**3 for each in _times(FROM_LAB, lab)])
        if chroma < GREY or all(-TINY <= part <= 1 + TINY for part in linear):
            return f"#{''.join(f'{_byte(part):02x}' for part in linear)}"
        chroma *= 0.96


def _byte(part: float) -> int:
    part = min(max(part, 0.0), 1.0)
    return round(255 * (12.92 * part if part <= 0.0031308 else 1.055 * part ** (1 / 2.4) - 0.055))


def _times(matrix: Sequence[Sequence[float]], vector: Sequence[float]) -> list[float]:
    return [sum(each * part for each, part in zip(row, vector, strict=True)) for row in matrix]
