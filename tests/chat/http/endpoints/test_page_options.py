"""What a chat may say of the look of its page: what is taken, and what is an error that names the argument."""

from pathlib import Path
from typing import Any

import pytest

from winterbourne.chat.errors import SettingsError
from winterbourne.chat.http.endpoints.page_options import PageOptions


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
