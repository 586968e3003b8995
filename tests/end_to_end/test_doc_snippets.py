"""The pages on frontends: every snippet that can run is run, unchanged, against the local function URL."""

import subprocess
import sys
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from tests import npm
from tests.doc_pages import blocks, read

pytestmark = pytest.mark.slow

PAGES = [
    f"docs/how-to/{name}.md"
    for name in ("javascript-and-python", "ai-sdk", "copilotkit", "openai-clients", "cloudfront")
]
TEXT = "".join(map(read, PAGES))


def snippets(language: str) -> list[str]:
    return [block.text for page in PAGES for block in blocks(page) if block.language == language]


def run(command: list[str], code: str, url: str, folder: Path) -> str:
    code = code.replace("https://YOUR-URL", url)
    done = subprocess.run(command, input=code, cwd=folder, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("code", [code for code in snippets("js") if "signed_fetch" not in code])
def test_javascript_prints_an_answer(chat: str, code: str) -> None:
    said = run(["node", "--input-type=module"], code, chat, npm.clients())
    assert "Paris" in said


@pytest.mark.parametrize("code", snippets("python"))
def test_python_prints_an_answer(chat: str, code: str, tmp_path: Path) -> None:
    assert "Paris" in run([sys.executable, "-"], code, chat, tmp_path)


def test_an_event_source_shows_the_whole_answer(chat: str, browser: Browser) -> None:
    [html] = snippets("html")
    with browser.new_page() as page:
        page.route(f"{chat}/page", lambda route: route.fulfill(body=html, content_type="text/html"))
        page.goto(f"{chat}/page")
        page.wait_for_function("document.body.innerText.includes('Paris')")


def test_each_format_has_a_snippet() -> None:
    assert len(snippets("js")) == 6
    assert len(snippets("python")) == 2
    assert len(snippets("tsx")) == 5
    for path in ("/chat", "/api/chat", "/agui", "/v1"):
        assert f"https://YOUR-URL{path}" in TEXT or f"${{base}}{path}" in TEXT


def test_every_body_goes_out_with_its_digest() -> None:
    """`signedFetch` in place of fetch, in the clients that send from a page, and with every kind of body."""
    assert npm.run("signed.mjs") == [True] * 10
