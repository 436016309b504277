"""Pictures of the page for the documents.

The test of the page takes them of its small pool. Those in ``docs/pictures`` are of the demo's:
``python -m clip_assets_tests.service.page_pictures http://127.0.0.1:1234 docs/pictures``.
"""

import sys
from pathlib import Path

from playwright.sync_api import Browser

from clip_assets_tests.service.browsing import DESKTOP, PHONE, Visit, chromium

MIX = "?q=a+star&term=1*text*yellow&term=-0.5*text*stripes"


def take(browser: Browser, url: str, folder: Path) -> list[Path]:
    """Write a picture of each state that the documents show; their paths."""
    taken: list[Path] = []

    def save(visit: Visit, name: str) -> None:
        visit.painted()
        path = folder / f"page-{name}.jpg"
        visit.page.screenshot(path=path, type="jpeg", quality=88)
        taken.append(path)

    desktop = browser.new_context(color_scheme="light", reduced_motion="reduce", **DESKTOP)
    visit = Visit(desktop, url)
    visit.go()
    save(visit, "start")
    visit.go(MIX)
    visit.tiles.nth(1).hover()  # its buttons show
    save(visit, "results")
    visit.tiles.nth(1).locator("a.open").click()
    save(visit, "detail")
    desktop.close()
    phone = browser.new_context(color_scheme="dark", reduced_motion="reduce", **PHONE)
    visit = Visit(phone, url)
    visit.go(MIX)
    save(visit, "phone")
    phone.close()
    return taken


if __name__ == "__main__":
    with chromium() as running:
        take(running, sys.argv[1], Path(sys.argv[2]))
