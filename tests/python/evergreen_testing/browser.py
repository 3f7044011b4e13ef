"""A real browser for the tests of the web page: Debian's Chromium, driven by Playwright."""

import contextlib
import shutil
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from evergreen_testing.paths import ROOT

#: Where people with each kind of screen look: width and height in pixels.
SCREENS = {"desktop": (1440, 1000), "phone": (390, 844)}

#: The rules that WCAG 2.2 AA consists of, as axe-core names them.
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]

#: Reports what the policies of the page forbid.
WATCH = """
addEventListener("securitypolicyviolation", (event) =>
  console.error(`policy violated: ${event.violatedDirective} by ${event.blockedURI || event.sample}`));
"""


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    """Starts a browser for the length of a block."""
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    assert program, "the tests of the page need Chromium (Debian: apt-get install chromium)"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


def axe_source() -> str:
    """Returns axe-core, which finds what people with disabilities stumble over."""
    return (ROOT / "web/node_modules/axe-core/axe.min.js").read_text()


class Visit:
    """A page in a browser of its own, whose errors fail the test.

    `expected` has the parts of console messages that a test provokes, such as the status of a failed request.
    """

    def __init__(
        self, browser: Browser, base: str, screen: str, expected: tuple[str, ...], **options: Any
    ) -> None:
        width, height = SCREENS[screen]
        settings: dict[str, Any] = {
            "locale": "en-GB",
            "timezone_id": "Europe/Berlin",
            "reduced_motion": "reduce",
        }
        self.context = browser.new_context(
            base_url=base, viewport={"width": width, "height": height}, **(settings | options)
        )
        self.context.set_default_timeout(15_000)
        self.context.add_init_script(WATCH)
        self.expected, self.errors = expected, list[str]()
        self.page = self.context.new_page()
        self.page.on("console", lambda message: self._hear(message.type, message.text))
        self.page.on("pageerror", lambda error: self.errors.append(f"exception: {error}"))

    def _hear(self, kind: str, text: str) -> None:
        if kind in ("error", "warning") and not any(part in text for part in self.expected):
            self.errors.append(text)

    def open(self, path: str) -> Page:
        """Opens an address of the page, and waits until its heading is there."""
        self.page.goto(path)
        self.page.locator("h1").first.wait_for()
        return self.page

    def check_access(self, axe: str) -> None:
        """Fails for what axe-core finds, and for a page that is wider than the screen."""
        self.page.evaluate(axe)
        found = self.page.evaluate("(tags) => axe.run({runOnly: tags})", RULES)
        problems = [
            (violation["id"], [node["html"][:160] for node in violation["nodes"]])
            for violation in found["violations"]
        ]
        assert not problems
        assert self.page.evaluate("document.documentElement.scrollWidth <= innerWidth")


@contextlib.contextmanager
def visiting(
    browser: Browser, base: str, screen: str = "desktop", expected: tuple[str, ...] = (), **options: Any
) -> Iterator[Visit]:
    """Visits the page for the length of a block; an error in its console fails the test at the end."""
    visit = Visit(browser, base, screen, expected, **options)
    try:
        yield visit
        assert visit.errors == []
    finally:
        visit.context.close()


def build_page(*options: str) -> None:
    """Runs `web/build`, which also installs axe-core."""
    done = subprocess.run([ROOT / "web/build", *options], capture_output=True, text=True)
    if done.returncode:
        pytest.fail(f"web/build: {done.stdout}{done.stderr}")
