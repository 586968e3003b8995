"""Helpers for the tests of the chat page in a real Chromium: pages that record console errors and foreign requests."""

from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from playwright.sync_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Locator,
    Page,
    Request,
    Route,
    ViewportSize,
    expect,
)

from winterbourne.chat.http.endpoints.page_document import FOLDER
from winterbourne.chat.http.endpoints.page_options import PageOptions
from winterbourne.chat.http.endpoints.static_files import StaticFiles

__all__ = [
    "DESK",
    "FIVE",
    "FLAGS",
    "KEY",
    "Visits",
    "ask",
    "has_ended",
    "keep_picture",
    "open_tools",
    "sent_body",
    "serve_module",
    "wear",
]

ARTIFACTS: Final = Path(__file__).parent / "artifacts"
FLAGS: Final = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
KEY: Final = "a key of many letters"
PATIENCE_MS: Final = 20_000  # per expectation; only a broken page makes a test wait that long
FIVE: Final = "Compare AAPL and MSFT, the weather in Paris and Lima, and 1200 EUR in USD"
DESK: Final[ViewportSize] = {"width": 1120, "height": 900}


expect.set_options(timeout=PATIENCE_MS)


class Visits:
    """Browser contexts of one test; records console errors, requested URLs and requests to other hosts."""

    def __init__(self, browser: Browser) -> None:
        self._browser = browser
        self._contexts: list[BrowserContext] = []
        self.console_errors: list[str] = []
        self.requested_urls: list[str] = []
        self.foreign_requests: list[str] = []

    def open(self, url: str, *, key: str = "", modules: bool = False, **options: Any) -> Page:
        """Open the page at the URL. With `modules`, its scripts can also be imported, each from `/modules/NAME.js`."""
        context = self._browser.new_context(**{"viewport": DESK, "bypass_csp": modules, **options})
        self._contexts.append(context)
        page = context.new_page()
        if modules:
            page.route("**/modules/*", serve_module)
        page.set_default_timeout(PATIENCE_MS)
        page.on("console", self._on_console)
        page.on("pageerror", lambda error: self.console_errors.append(str(error)))
        page.on("request", lambda request: self._on_request(request, url))
        page.goto(f"{url}/")
        if key:
            page.evaluate("key => sessionStorage.setItem('winterbourne.key', key)", key)
        return page

    def close(self) -> None:
        for context in self._contexts:
            context.close()

    def _on_console(self, message: ConsoleMessage) -> None:
        # Chromium itself logs each response of 400 and above; tests that provoke one look for it on the page.
        if message.type in {"error", "warning"} and not message.text.startswith("Failed to load resource"):
            self.console_errors.append(message.text)

    def _on_request(self, request: Request, url: str) -> None:
        self.requested_urls.append(request.url)
        if not request.url.startswith((f"{url}/", "data:")):
            self.foreign_requests.append(request.url)


def serve_module(route: Route) -> None:
    """Serve a script of the page as the module that it is in its folder."""
    route.fulfill(path=FOLDER / urlsplit(route.request.url).path.rpartition("/")[2], content_type="text/javascript")


def ask(page: Page, question: str) -> Locator:
    """Type a question, send it, return the element of its answer."""
    page.get_by_role("textbox", name="Your question").fill(question)
    page.keyboard.press("Enter")
    return page.locator(".answer").last


def has_ended(answer: Locator, state: str = "done") -> Locator:
    expect(answer).to_have_attribute("data-state", state)
    expect(answer.page.locator("html")).to_have_attribute("data-running", "false")  # the next one can be asked
    return answer


def open_tools(answer: Locator) -> Locator:
    """Open an answer's first row of tools, so that their cards are seen."""
    answer.locator(".chips:visible").first.click()
    return answer


def sent_body(request: Request) -> dict[str, Any]:
    """The body of a request, as JSON."""
    return dict(request.post_data_json or {})


def wear(page: Page, options: PageOptions) -> None:
    """Load the page again as a chat with these options would serve it; its requests go to the same chat as before."""
    config = page.evaluate("JSON.parse(document.getElementById('config').textContent)")
    files = StaticFiles(options, lambda: config)

    def serve(route: Route) -> None:
        file = files.find(urlsplit(route.request.url).path)
        if file:
            route.fulfill(body=file.body, headers=dict(file.headers))
        else:
            route.fallback()

    page.route("**/*", serve)
    page.reload()


def keep_picture(page: Page, name: str) -> None:
    ARTIFACTS.mkdir(exist_ok=True)
    page.screenshot(path=ARTIFACTS / f"page-{name}.png", animations="disabled")
