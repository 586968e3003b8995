"""What a chat may say of the look of its page: what is taken, and what is an error that names the argument."""

import re
from pathlib import Path
from typing import Any

import pytest

from winterbourne.chat.errors import SettingsError
from winterbourne.chat.http.endpoints.page_options import PageOptions, suggestions_of


class TestOptions:
    @pytest.mark.parametrize(
        "options",
        [
            {"title": "x" * 60},
            {"greeting": "x" * 500},
            {"suggestions": ("x" * 200,) * 6},
            {"suggestions": ["a list"]},
            {"accent": "#aBc"},
            {"accent": "#00ff7F"},
            {"footer": "x" * 300},
            {"footer": "For crews. See the [terms (new)](https://example.com/terms?a=b&c=d#e)."},
            {"footer": "[A] (b) [c]"},
            {"styles": {"--paper": "light-dark(#fff, #111)", "--serif": 'Georgia, "Times New Roman", serif'}},
            {"styles": {"--ink": "light-dark(#000000,#FFFFFF)"}},
        ],
    )
    def test_all_that_fits_is_taken(self, options: dict[str, Any]) -> None:
        page = PageOptions(**options)
        assert {name: getattr(page, name) for name in options} == options

    @pytest.mark.parametrize(
        "options",
        [
            {"title": ""},
            {"title": " \n"},
            {"title": "x" * 61},
            {"greeting": "x" * 501},
            {"suggestions": ("x",) * 7},
            {"suggestions": ("x" * 201,)},
            {"suggestions": ("",)},
            {"suggestions": ("x", " ")},
            {"suggestions": "text"},
            {"accent": "red"},
            {"accent": "#12"},
            {"accent": "#1234"},
            {"accent": "#12345"},
            {"accent": "#123456\n"},
            {"accent": "#00f;}*{display:none"},
            {"accent": "x#123"},
            {"footer": "x" * 301},
            {"footer": "[terms](http://example.com/)"},
            {"footer": "[terms](javascript:alert())"},
            {"footer": "[terms](https://)"},
            {"footer": "[terms](https://user@example.com/)"},
            {"footer": '[terms](https://example.com/"onclick=")'},
            {"footer": "[a](https://example.com/) and [b](https://example.com/)"},
        ],
    )
    def test_a_wrong_value_is_an_error_that_names_the_argument(self, options: dict[str, Any]) -> None:
        with pytest.raises(SettingsError, match=rf"^{next(iter(options))}: expected [^;]*$"):
            PageOptions(**options)

    def test_a_logo_is_an_svg_or_png_file_of_at_most_100_kb(self, tmp_path: Path) -> None:
        for name, size in (("fits.svg", 100_000), ("large.png", 100_001), ("photo.jpg", 9), ("svg", 9)):
            (tmp_path / name).write_bytes(bytes(size))
        (tmp_path / "folder.svg").mkdir()
        assert PageOptions(logo=str(tmp_path / "fits.svg")).logo.endswith("/fits.svg")
        for name in ("large.png", "photo.jpg", "svg", "folder.svg", "missing.svg", ""):
            with pytest.raises(SettingsError, match=r"^logo: expected an \.svg or \.png file"):
                PageOptions(logo=str(tmp_path / name))

    def test_every_wrong_value_is_named_at_once(self) -> None:
        with pytest.raises(SettingsError, match=r"^title: .*; accent: "):
            PageOptions(title="", accent="red")


class TestStyles:
    @pytest.mark.parametrize(
        "value",
        [
            "red",
            "#12",
            "#12345g",
            "rgb(0 0 0)",
            "#000;}",
            "#000 ",
            "light-dark(#000)",
            "light-dark(#000, red)",
            "url(x)",
        ],
    )
    def test_a_colour_is_one_for_both_or_a_pair(self, value: str) -> None:
        expected = "styles: --ink: expected #rrggbb or light-dark(#rrggbb, #rrggbb)"
        with pytest.raises(SettingsError, match=f"^{re.escape(expected)}$"):
            PageOptions(styles={"--ink": value})

    @pytest.mark.parametrize(
        "value",
        ["", "1px", "Georgia;", "Georgia}", 'a"b', '"</style>"', "url(https://example.com/a.woff)", "var(--x)", "a,,b"],
    )
    def test_fonts_are_names_with_commas(self, value: str) -> None:
        with pytest.raises(SettingsError, match=r"^styles: --serif: expected names of fonts, with commas$"):
            PageOptions(styles={"--serif": value})

    @pytest.mark.parametrize("name", ["--papr", "color", "--ink; --paper", ""])
    def test_a_variable_that_is_none_is_told_with_those_there_are(self, name: str) -> None:
        with pytest.raises(SettingsError, match=r"^styles: there is no .*, only --bed, --bright, .*--water$"):
            PageOptions(styles={name: "#000"})

    def test_too_little_contrast_is_told_with_the_pair_and_the_ratio(self) -> None:
        with pytest.raises(SettingsError) as refusal:
            PageOptions(styles={"--soft": "light-dark(#999, #93a6a5)", "--serif": "Georgia"})
        assert str(refusal.value) == (
            "styles: --soft on --paper has a contrast of 2.63:1 in light, and needs 4.5:1; "
            "--soft on --raised has a contrast of 2.82:1 in light, and needs 4.5:1; "
            "--soft on --wash has a contrast of 2.43:1 in light, and needs 4.5:1"
        )

    def test_a_ground_for_both_that_suits_only_one_is_told(self) -> None:
        with pytest.raises(SettingsError, match=r"--ink on --paper has a contrast of 1\.26:1 in dark"):
            PageOptions(styles={"--paper": "#ffffff"})

    def test_an_accent_is_made_readable_on_grounds_of_ones_own(self) -> None:
        night = {"--paper": "#1b1b1b", "--raised": "#222222", "--ink": "#eeeeee", "--soft": "#b0b0b0"}
        night |= {"--rust": "#f0a090", "--bed": "#808080"}
        made = PageOptions(accent="#00f", styles=night | {"--wash": "#262626"}).variables()
        assert made["--water"].startswith("light-dark(#5")
        assert made["--paper"] == "light-dark(#1b1b1b, #1b1b1b)"

    def test_what_styles_say_wins_over_the_accent(self) -> None:
        made = PageOptions(accent="#b3261e", styles={"--water": "light-dark(#004400, #aaffaa)"}).variables()
        assert made["--water"] == "light-dark(#004400, #aaffaa)"
        assert made["--bright"].startswith("light-dark(#b3261e, ")


class TestSuggestionsOfTools:
    @pytest.mark.parametrize(
        ("description", "suggestion"),
        [
            ("Get the weather of a city.", "Get the weather of a city"),
            ("Get the weather\nof a city. Use it often.\n\nMore of it.", "Get the weather of a city"),
            ("Convert money, e.g. euros. Rates are the ECB's.", "Convert money, e.g. euros"),
            ("Is the harbour open? It tells.", "Is the harbour open?"),
            ("Count ships\n\nSlowly.", "Count ships"),
        ],
    )
    def test_it_is_the_first_sentence_of_the_description(self, description: str, suggestion: str) -> None:
        assert suggestions_of([description]) == (suggestion,)

    def test_there_are_four_at_most_and_none_that_is_long(self) -> None:
        texts = ["x" * 121, "", *(f"Tool {number}." for number in range(5))]
        assert suggestions_of(texts) == ("Tool 0", "Tool 1", "Tool 2", "Tool 3")
