"""The service's page in Debian's Chromium: how tests start it, and what they do on it."""

import re
import shutil
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Locator, Page, expect, sync_playwright

from clip_assets_tests.pools import CHECKOUT

DESKTOP = {"viewport": {"width": 1360, "height": 850}}
PHONE = {
    "viewport": {"width": 390, "height": 844},
    "device_scale_factor": 2,
    "has_touch": True,
    "is_mobile": True,
}

PATIENCE_MS = 30_000
"""A machine that stands still for seconds does not reach this."""


@contextmanager
def chromium() -> Generator[Browser]:
    """A browser without a window."""
    path = shutil.which("chromium")
    if path is None:
        pytest.fail("Chromium is missing; as root, run: make system")
    expect.set_options(timeout=PATIENCE_MS)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        try:
            yield browser
        finally:
            browser.close()


COUNTER = """
(() => {
  let steps = 0;
  let typing = null;
  const isText = (one) => one.matches?.("textarea, input[type=search], input[type=number]");
  const step = () => { steps += 1; typing = null; };
  const listen = (kind, heard) => window.addEventListener(kind, heard, true);
  listen("pointerdown", step);
  listen("drop", step);
  listen("paste", step);
  listen("change", (event) => { if (event.target.type === "file") step(); });
  listen("keydown", (event) => {
    if (["Shift", "Control", "Alt", "Meta"].includes(event.key) || event.repeat) return;
    const writes = isText(event.target) && (event.key.length === 1 || event.key === "Backspace");
    if (writes && typing === event.target) return;
    step();
    if (writes) typing = event.target;
  });
  window.stepsSoFar = () => steps;
})();
"""
"""Counts what a person does: presses of a pointer (a drag is one), keys, files dropped, pasted or
chosen; however much is written into a field without a step between is one."""

DOCUMENT = CHECKOUT / "docs" / "page.md"


def documented() -> dict[int, tuple[int, int | None]]:
    """Steps that each task of the page's document takes, here and in Immich, None: cannot."""
    lines = re.findall(
        r"^[|] (\d+) [|].*[|] (\d+) [|].*[|] (\d+|--) [|]$", DOCUMENT.read_text(), re.M
    )
    return {int(n): (int(here), None if there == "--" else int(there)) for n, here, there in lines}


class Visit:
    """A tab that shows the page, and everything that went wrong in it.

    Args:
        context: of the tab.
        url: of the service.
    """

    def __init__(self, context: BrowserContext, url: str) -> None:
        self.url = url
        self.page: Page = context.new_page()
        self.page.set_default_timeout(PATIENCE_MS)
        self.faults: list[str] = []
        self.page.on("pageerror", lambda error: self.faults.append(str(error)))
        self.page.on("console", self._told)
        self.page.add_init_script(COUNTER)
        self.loads = 0
        self.page.on("load", self._loaded)

    def _told(self, message: Any) -> None:
        # A status that is no success is told, too; tests look at what is shown then.
        if message.type == "error" and "status of" not in message.text:
            self.faults.append(message.text)

    def _loaded(self, _page: Page) -> None:
        self.loads += 1

    def go(self, query: str = "") -> None:
        """Open the page with a query, and wait for what it shows."""
        self.page.goto(f"{self.url}/{query}")
        self.settled()

    def settled(self) -> None:
        """Wait until nothing is asked for."""
        expect(self.page.locator("body")).not_to_have_class("waiting")
        expect(self.page.locator("#results")).to_have_attribute("aria-busy", "false")

    @contextmanager
    def task(self, number: int) -> Generator[None]:
        """Do one of the document's tasks: its steps are as many as it says, on the same page."""
        before, loads = self.page.evaluate("stepsSoFar()"), self.loads
        yield
        steps = self.page.evaluate("stepsSoFar()") - before
        assert (steps, self.loads - loads) == (documented()[number][0], 0)

    @property
    def words(self) -> Locator:
        """The field that is typed into."""
        return self.page.get_by_role("searchbox")

    @property
    def tiles(self) -> Locator:
        """The results that are in the document."""
        return self.page.locator(".tile")

    def find(self, words: str) -> None:
        """Open the page with the results of some words."""
        self.go(f"?q={words.replace(' ', '+')}")

    def type(self, words: str) -> None:
        """Type other words, and wait for their results."""
        self.words.fill(words)
        expect(self.page).to_have_url(f"{self.url}/?q={words.replace(' ', '+')}")
        self.settled()

    def captions(self, number: int) -> list[str]:
        """Captions of the first results."""
        expect(self.tiles.nth(number - 1)).to_be_attached()
        return self.page.locator(".tile .caption").all_inner_texts()[:number]

    def leave(self) -> None:
        """Close the picture that is open, and wait until the address says so, too."""
        self.page.keyboard.press("Escape")
        expect(self.page).not_to_have_url(re.compile("item="))

    def button(self, name: str) -> Locator:
        """A button by what it is called."""
        return self.page.get_by_role("button", name=name, exact=True)

    def painted(self) -> None:
        """Wait until every picture in the window is drawn."""
        self.page.wait_for_function("""() => {
          const frames = [...document.querySelectorAll("dialog[open] img, .frame img")];
          const seen = frames.filter((image) => {
            const box = image.getBoundingClientRect();
            return box.bottom > 0 && box.top < innerHeight;
          });
          return seen.length && seen.every((image) => image.complete && image.naturalWidth);
        }""")
