"""Code in the pages under `docs/`, as a reader would copy it."""

import importlib.util
import re
from pathlib import Path
from types import ModuleType
from typing import Final

__all__ = ["code_blocks", "load_block"]

DOCS: Final = Path(__file__).parents[1] / "docs"


def code_blocks(page: str) -> dict[str, str]:
    """The Python files on a page, by the name that is in the first line of each."""
    text = (DOCS / page).read_text()
    return dict(re.findall(r"^```python\n# ([\w/]+\.py)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL))


def load_block(page: str, name: str, folder: Path) -> ModuleType:
    """Import one of these files, written to a folder."""
    path = folder / Path(name).name
    path.write_text(code_blocks(page)[name])
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
