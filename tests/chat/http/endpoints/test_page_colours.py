"""Colours of the page: contrast as WCAG defines it, and accents that can be read whatever they are."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from winterbourne.chat.http.endpoints.page_colours import NEEDED, contrast, make_variables, page_variables

COLOURS = st.integers(0, 0xFFFFFF).map("#{:06x}".format)


def pair(value: str) -> list[str]:
    """A colour for light and for dark."""
    return re.findall(r"#\w{6}", value)


def faint(variables: dict[str, str]) -> list[tuple[str, str, float]]:
    """What has too little contrast on the page with these variables."""
    colours = page_variables() | variables
    found = (
        (ink, ground, contrast(one, other), needed)
        for (ink, ground), needed in NEEDED.items()
        for one, other in zip(pair(colours[ink]), pair(colours[ground]), strict=True)
    )
    return [(ink, ground, ratio) for ink, ground, ratio, needed in found if ratio < needed]


def test_contrast_is_that_of_wcag() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#ffffff", "#ffffff") == 1
    assert contrast("#777777", "#ffffff") == contrast("#ffffff", "#777777") == pytest.approx(4.48, abs=0.005)
    assert contrast("#ff0000", "#ffffff") == pytest.approx(4.0, abs=0.005)


def test_the_pages_own_colours_have_enough_contrast() -> None:
    assert faint({}) == []


@given(COLOURS)
def test_any_accent_can_be_read(accent: str) -> None:
    assert faint(make_variables(accent, {})) == []


@given(COLOURS)
def test_an_accent_that_can_be_read_stays_as_it_is(accent: str) -> None:
    made = make_variables(accent, {})
    for scheme, ground in enumerate(("#f7f6f1", "#0f191c")):
        if contrast(accent, ground) > 7:
            assert pair(made["--water"])[scheme] == pair(made["--bright"])[scheme] == accent


@pytest.mark.parametrize(
    ("accent", "light", "dark"), [("#a0281e", "#a0281e", "#e26656"), ("#ff0", "#707002", "#ffff00")]
)
def test_another_keeps_its_hue(accent: str, light: str, dark: str) -> None:
    assert pair(make_variables(accent, {})["--water"]) == [light, dark]


def test_a_short_colour_is_the_long_one() -> None:
    assert make_variables("#a3c", {}) == make_variables("#aa33cc", {})
