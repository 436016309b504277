"""The page in a real browser over a real service: what it finds, and what people can do with it.

The ten tasks of ``docs/page.md`` are tests here; each is named in its docstring.
"""

import base64
import io
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pyarrow.parquet as pq
import pytest
from playwright.sync_api import Browser, BrowserContext, Route, expect

from clip_assets.service.hosting.hosted import Hosting
from clip_assets.service.limits.offer import Offer
from clip_assets_tests.pools import CHECKOUT
from clip_assets_tests.retrieval.conftest import one_thread
from clip_assets_tests.service import accessibility, page_pictures, pictures
from clip_assets_tests.service.browsing import DESKTOP, PHONE, Visit, chromium, documented
from clip_assets_tests.service.conftest import serving
from clip_assets_tests.service.pictures import Pictures
from clip_assets_tests.websites import website

__all__ = ["one_thread"]

TOLD = {"where": "the index", "found": "a fault", "expected": "none", "advice": "Ask later."}

FIRST = 1
"""Results that show what was asked for, with certainty: others like it may be folded into it."""

MINUS = "\N{MINUS SIGN}"

DROP = """
([name, base64, kind]) => {
  const bytes = Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
  const data = new DataTransfer();
  data.items.add(new File([bytes], name, { type: "image/jpeg" }));
  const event = kind === "paste"
    ? new ClipboardEvent("paste", { clipboardData: data, bubbles: true })
    : new DragEvent("drop", { dataTransfer: data, bubbles: true });
  document.body.dispatchEvent(event);
}
"""
"""Let a page have a file as a person's hand or clipboard would bring it."""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Pictures:
    with website() as site:
        return pictures.make(tmp_path_factory.mktemp("browsed"), site)


@pytest.fixture(scope="module")
def url(made: Pictures) -> Iterator[str]:
    """Of a service over the pictures, whose web server is gone: what is shown is what is stored."""
    with serving(Hosting.of([f"{name}={made.root}" for name in ("pictures", "others")])) as served:
        yield served.url


@pytest.fixture(scope="module")
def browser(url: str) -> Iterator[Browser]:
    """Begun after the pool is made: while it runs, this thread cannot run an event loop."""
    assert url
    with chromium() as running:
        yield running


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    opened = browser.new_context(color_scheme="light", accept_downloads=True, **DESKTOP)
    yield opened
    opened.close()


@pytest.fixture
def visit(context: BrowserContext, url: str) -> Iterator[Visit]:
    """A tab for the page; nothing that goes wrong in it is forgiven."""
    started = Visit(context, url)
    yield started
    assert started.faults == []


def shown(made: Pictures, visit: Visit, number: int = FIRST) -> set[tuple[str, str]]:
    """Colour and shape of the first results."""
    return {tuple(made.shown[words]) for words in visit.captions(number)}


def test_words_find_their_pictures_as_they_are_typed(visit: Visit, made: Pictures) -> None:
    """Task 1: find."""
    visit.go("?fold=0")
    with visit.task(1):
        visit.page.keyboard.press("/")
        visit.page.keyboard.type("a blue star")
        expect(visit.page).to_have_url(re.compile(r"q=a\+blue\+star&"))
        visit.settled()
    assert shown(made, visit, pictures.EACH) == {("blue", "star")}
    similarities = visit.page.locator(".tile .line .figure").all_inner_texts()
    assert similarities == sorted(similarities, reverse=True)
    picture = visit.tiles.first.locator("img.loaded")
    expect(picture).to_be_visible()
    assert "/v1/images/" in (picture.get_attribute("src") or "")


def test_a_late_answer_does_not_replace_a_newer_one(visit: Visit, made: Pictures) -> None:
    held: list[Route] = []

    def hold(route: Route) -> None:
        if "red" in (route.request.post_data or ""):
            held.append(route)
        else:
            route.continue_()

    visit.find("star")
    visit.page.route("**/v1/search", hold)
    visit.words.fill("a red circle")
    expect(visit.page.locator("body")).to_have_class(re.compile("waiting"))
    visit.type("a green arrow")
    for route in held:
        route.continue_()
    visit.page.wait_for_timeout(200)
    assert len(held) == 1
    assert shown(made, visit) == {("green", "arrow")}


def test_a_picture_finds_what_is_like_it(visit: Visit, made: Pictures) -> None:
    """Task 2: more like this, by keys, by a button, and in the detail."""
    visit.find("a pink flower")
    visit.words.focus()
    visit.page.keyboard.press("ArrowDown")
    expect(visit.page.locator(".tile a.open").first).to_be_focused()
    with visit.task(2):
        visit.page.keyboard.press("m")
        expect(visit.page.get_by_role("list", name="Terms of the search")).to_be_visible()
        visit.settled()
    assert shown(made, visit) == {("pink", "flower")}
    expect(visit.page.locator(".tile .figure").first).to_have_text(re.compile(r"^(1\.000|0\.99)"))
    tile = visit.tiles.nth(1)
    tile.hover()
    uid = tile.get_attribute("data-uid")
    wanted = tuple(made.shown[visit.captions(2)[1]])
    with visit.task(2):
        tile.get_by_role("button", name="More like").click()
        expect(visit.page).to_have_url(re.compile(f"uid[*]{uid}"))
    visit.settled()
    assert shown(made, visit) == {wanted}
    tile.locator("a.open").click()
    wanted = tuple(made.shown[visit.captions(2)[1]])
    visit.button("More like this").click()
    expect(visit.page.get_by_role("dialog")).to_have_count(0)
    visit.settled()
    assert shown(made, visit) == {wanted}
    visit.page.evaluate("document.activeElement.blur()")
    tile.hover()
    uid = tile.get_attribute("data-uid")
    visit.page.keyboard.press("m")
    expect(visit.page).to_have_url(re.compile(f"uid[*]{uid}"))


@pytest.mark.parametrize("way", ["choose", "drop", "paste"])
def test_an_image_of_ones_own_finds_what_is_like_it(visit: Visit, made: Pictures, way: str) -> None:
    """Task 3: search by an image."""
    words = "a yellow house"
    number = list(made.shown).index(words)
    content = made.files[f"/{number:03d}.jpg"]
    visit.go()
    if way == "choose":
        with visit.page.expect_file_chooser() as chooser:
            visit.button("Search by an image").click()
        chooser.value.set_files([{"name": "a.jpg", "mimeType": "image/jpeg", "buffer": content}])
    else:
        with visit.task(3):
            visit.page.evaluate(DROP, ["a.jpg", base64.b64encode(content).decode(), way])
            expect(visit.page.locator("#chips img")).to_be_visible()
    expect(visit.page.locator("#chips img")).to_be_visible()
    expect(visit.page).to_have_url(re.compile("term="))
    visit.settled()
    assert visit.captions(1) == [words]
    # A reload finds the image where it was left: in this browser.
    visit.page.reload()
    visit.settled()
    assert visit.captions(1) == [words]


def test_a_term_is_excluded_and_weighed(visit: Visit) -> None:
    """Tasks 4 and 5: exclude, and weigh a mix."""
    visit.find("star")
    mixed = visit.captions(8)
    with visit.task(4):
        visit.button("Exclude a term").click()
        visit.page.keyboard.type("blue")
        expect(visit.page).to_have_url(re.compile("q=blue"))
        visit.settled()
    assert not any("blue" in words for words in visit.captions(8))
    assert mixed != visit.captions(8)
    group = visit.page.get_by_role("group", name="star, weight +1")
    with visit.task(5):
        group.get_by_role("button", name="More of star").press("Enter")
        expect(visit.page.get_by_role("group", name="star, weight +1.25")).to_be_visible()
    expect(visit.button("More of star")).to_be_focused()
    visit.settled()
    visit.tiles.first.locator("a.open").click()
    rows = visit.page.locator(".why table tr")
    expect(rows).to_have_count(2)
    given = [float(text.replace(MINUS, "-")) for text in rows.locator(".figure").all_inner_texts()]
    total = float(visit.page.locator(".why .large").inner_text())
    assert sum(given) == pytest.approx(total, abs=0.002)
    assert given[1] < given[0]


def test_backspace_edits_the_last_term(visit: Visit) -> None:
    visit.find("star")
    visit.button("Add another term").click()
    expect(visit.page.locator(".chip")).to_have_count(1)
    visit.page.keyboard.press("Backspace")
    expect(visit.page.locator(".chip")).to_have_count(0)
    expect(visit.words).to_have_value("star")


def test_facets_narrow_what_is_found(visit: Visit) -> None:
    """Task 6: narrow by a brush, by a list and by keys."""
    visit.find("heart")
    plot = visit.page.locator("#width-facet .plot")
    box = plot.bounding_box()
    assert box
    with visit.task(6):
        visit.page.mouse.move(box["x"] + 0.5 * box["width"], box["y"] + 10)
        visit.page.mouse.down()
        visit.page.mouse.move(box["x"] + box["width"] + 5, box["y"] + 10, steps=4)
        visit.page.mouse.up()
        expect(visit.page).to_have_url(re.compile(r"width=[0-9]+\.\."))
        visit.settled()
    least = int(re.findall(r"width=(\d+)", visit.page.url)[0])
    assert least > 100
    with visit.task(6):
        visit.page.get_by_role("checkbox", name=re.compile("^00001")).check()
        expect(visit.page).to_have_url(re.compile("partition=00001"))
        visit.settled()
    visit.tiles.first.locator("a.open").click()
    facts = visit.page.locator("#detail-body .facts").first
    expect(facts).to_contain_text("00001")
    width = re.findall(r"Original size\s*(\d+) ", facts.inner_text())
    assert int(width[0]) >= least
    visit.leave()
    thumb = visit.page.get_by_role("slider", name="Similarity, least")
    before = float(thumb.get_attribute("aria-valuenow") or 0)
    thumb.press("PageUp")
    expect(visit.page).to_have_url(re.compile("least="))
    visit.settled()
    assert float(thumb.get_attribute("aria-valuenow") or 0) > before
    expect(visit.page.locator("#filters-count")).to_have_text("3")
    visit.button("Remove all").click()
    expect(visit.page).to_have_url(re.compile(r"\?q=heart$"))


def test_pictures_are_narrowed_by_when_they_were_taken(visit: Visit) -> None:
    visit.find("heart")
    thumb = visit.page.get_by_role("slider", name="Taken, least")
    assert re.match(r"20\d\d-\d\d-\d\d", thumb.get_attribute("aria-valuetext") or "")
    for _ in range(4):
        thumb.press("PageUp")
    expect(visit.page).to_have_url(re.compile(r"date=\d+\.\."))
    visit.settled()
    from_year = int((thumb.get_attribute("aria-valuetext") or "")[:4])
    assert from_year > 2000
    visit.tiles.first.locator("a.open").click()
    columns = visit.page.locator(".columns-of")
    expect(columns).to_contain_text("taken_at")
    [year] = re.findall(r"taken_at\s*(\d{4})", columns.inner_text())
    assert int(year) >= from_year


def test_a_condition_on_columns_narrows_and_says_what_is_wrong(visit: Visit) -> None:
    """Task 7: a condition."""
    visit.find("heart")
    field = visit.page.get_by_label("Condition in SQL")
    with visit.task(7):
        visit.page.get_by_text("Condition on columns").click()
        expect(field).to_be_focused()
        visit.page.keyboard.type("language = 'de' AND original_width > 100")
        visit.page.keyboard.press("Enter")
        expect(visit.page).to_have_url(re.compile("where="))
        visit.settled()
    visit.tiles.first.locator("a.open").click()
    expect(visit.page.locator("#detail-body")).to_contain_text(re.compile(r"language\s*de"))
    visit.leave()
    field.fill("widht > 100")
    visit.button("Apply").click()
    alert = visit.page.locator("#where-error")
    expect(alert).to_be_visible()
    expect(alert).to_contain_text("widht")
    expect(field).to_have_attribute("aria-invalid", "true")
    expect(visit.page.locator("#message .told")).to_contain_text("perhaps original_width.")
    visit.button("Remove the condition").click()
    expect(field).to_have_value("")
    expect(visit.tiles.first).to_be_visible()
    field.fill("1 = 0")
    visit.button("Apply").click()
    expect(visit.page.get_by_role("heading", name="Nothing was found")).to_be_visible()
    visit.button("Remove the filter").click()
    expect(visit.tiles.first).to_be_visible()


def test_results_end_where_relevance_ends(visit: Visit) -> None:
    visit.find("a black cross")
    line = visit.page.locator(".ends")
    expect(line).to_contain_text("Relevance ends here")
    visit.page.get_by_label("Stop where relevance ends").check()
    expect(visit.page.locator("#end")).to_be_visible()
    visit.settled()
    assert 0 < visit.tiles.count() < 60
    expect(line).to_have_count(0)


def test_nearly_equal_pictures_are_folded_and_open(visit: Visit) -> None:
    visit.find("a red circle")
    stack = visit.page.locator(".tile .stack").first
    number = int(stack.inner_text().strip("+ \n"))
    stack.click()
    expect(visit.page.locator(".tile.member")).to_have_count(number)
    expect(visit.page.locator(".tile.member .caption").first).not_to_be_empty()
    visit.page.locator(".tile .stack[aria-expanded=true]").click()
    expect(visit.page.locator(".tile.member")).to_have_count(0)
    visit.page.get_by_label("Fold nearly equal pictures").uncheck()
    expect(visit.page).to_have_url(re.compile("fold=0"))
    visit.settled()
    expect(visit.page.locator(".tile .stack")).to_have_count(0)


def test_scrolling_reaches_every_picture_with_few_in_the_document(
    visit: Visit, made: Pictures
) -> None:
    visit.go("?q=a+red+circle&fold=0")
    end = visit.page.locator("#end")
    seen: set[str] = set()
    most = 0
    for _ in range(200):
        now = visit.tiles.evaluate_all("tiles => tiles.map((tile) => tile.dataset.uid)")
        is_new = not set(now) <= seen
        seen |= set(now)
        most = max(most, len(now))
        is_low = visit.page.evaluate(
            "scrollY + innerHeight >= document.documentElement.scrollHeight - 2"
        )
        # The last pictures may be put in just after the page was scrolled to its end.
        if is_low and end.is_visible() and not is_new:
            break
        visit.page.mouse.move(700, 500)
        visit.page.mouse.wheel(0, 700)
        visit.page.wait_for_timeout(60)
    assert len(seen) == len(made.files)
    assert most < 120


def test_arrows_go_from_picture_to_picture(visit: Visit) -> None:
    visit.find("a red circle")
    opened = visit.page.locator(".tile a.open")
    opened.first.focus()
    visit.page.keyboard.press("ArrowRight")
    expect(opened.nth(1)).to_be_focused()
    visit.page.keyboard.press("ArrowDown")
    here = visit.page.evaluate("document.activeElement.closest('.tile').ariaPosInSet")
    assert int(here) > 3
    visit.page.keyboard.press("End")
    visit.page.keyboard.press("Enter")
    expect(visit.page.get_by_role("dialog")).to_be_visible()
    first = visit.page.locator("#detail-title").inner_text()
    visit.page.keyboard.press("ArrowLeft")
    expect(visit.page.locator("#detail-title")).not_to_have_text(first)
    visit.page.go_back()
    expect(visit.page.get_by_role("dialog")).to_have_count(0)


def test_pictures_are_compared(visit: Visit) -> None:
    """Task 8: compare."""
    visit.find("a red circle")
    with visit.task(8):
        for number in (0, 1):
            visit.tiles.nth(number).hover()
            visit.tiles.nth(number).locator(".pick").click()
        expect(visit.page.locator("#selection-count")).to_have_text("2 selected")
        visit.button("Compare").click()
    table = visit.page.get_by_role("table")
    expect(table.locator("img")).to_have_count(2)
    row = table.get_by_role("row", name=re.compile("^Similarity to the search"))
    assert len(row.get_by_role("cell").all_inner_texts()) == 2


@pytest.mark.parametrize("form", ["npy", "parquet", "urls"])
def test_chosen_pictures_are_saved(visit: Visit, form: str) -> None:
    visit.find("a blue star")
    visit.page.locator(".tile a.open").first.focus()
    for key in ("x", "ArrowRight", "ArrowRight", "Shift+X"):
        visit.page.keyboard.press(key)
    expect(visit.page.locator("#selection-count")).to_have_text("3 selected")
    wanted = visit.tiles.evaluate_all("tiles => tiles.slice(0, 3).map((tile) => tile.dataset.uid)")
    visit.page.locator("#selection").get_by_role("button", name="Download").click()
    visit.page.locator(f"[name=format][value={form}]").check()
    with visit.page.expect_download() as saved:
        visit.page.locator("#download-save").click()
    content = Path(saved.value.path()).read_bytes()
    assert saved.value.suggested_filename
    if form == "npy":
        rows = np.load(io.BytesIO(content))
        assert {f"{high:016x}{low:016x}" for high, low in rows.tolist()} == set(wanted)
    elif form == "parquet":
        assert set(pq.read_table(io.BytesIO(content))["uid"].to_pylist()) == set(wanted)
    else:
        assert len(content.decode().split()) == 3


def test_pictures_are_saved_by_a_key_in_the_form_used_last(visit: Visit) -> None:
    """Task 9: export."""
    visit.find("a blue star")
    visit.page.locator("#save").click()
    visit.page.locator("[name=format][value=urls]").check()
    visit.page.locator("#download-most").fill("5")
    with visit.page.expect_download() as saved:
        visit.page.locator("#download-save").click()
    assert len(Path(saved.value.path()).read_text().split()) == 5
    expect(visit.page.get_by_role("dialog")).to_have_count(0)
    visit.find("a blue star")
    with visit.task(9):
        for number in (0, 1):
            visit.tiles.nth(number).hover()
            visit.tiles.nth(number).locator(".pick").click()
        with visit.page.expect_download() as saved:
            visit.page.keyboard.press("Shift+D")
        assert len(Path(saved.value.path()).read_text().split()) == 2
    expect(visit.page.locator("#toast")).to_contain_text("The selection")


def test_a_link_shows_the_same_search(visit: Visit, context: BrowserContext, url: str) -> None:
    """Task 10: share."""
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    visit.go("?q=heart&term=-0.5*text*red&side=text&fold=0&partition=00000&least=0.1")
    expect(visit.page.locator("#filters-count")).to_have_text("2")
    expect(visit.page.get_by_label("Captions")).to_be_checked()
    wanted = visit.captions(6)
    visit.tiles.nth(2).locator("a.open").click()
    title = visit.page.locator("#detail-title")
    expect(title).to_have_text(wanted[2])
    shared = visit.page.url
    visit.leave()
    with visit.task(10):
        visit.button("Share").click()
        expect(visit.page.locator("#toast")).to_contain_text("copied")
    assert visit.page.evaluate("navigator.clipboard.readText()") == visit.page.url
    other = Visit(context, url)
    other.page.goto(shared)
    expect(other.page.locator("#detail-title")).to_have_text(wanted[2])
    other.page.keyboard.press("Escape")
    assert other.captions(6) == wanted
    assert other.faults == []


def test_the_beginning_shows_the_pool(visit: Visit, made: Pictures) -> None:
    visit.go()
    figures = visit.page.locator("#start-glance").inner_text()
    assert f"{len(made.files)}" in figures
    assert "100 %" in figures
    expect(visit.tiles.first.locator("img.loaded")).to_be_visible()
    visit.page.locator(".try").first.click()
    expect(visit.page).to_have_url(re.compile("q="))
    visit.settled()
    visit.page.get_by_role("link", name="clip_assets, start over").click()
    expect(visit.page.locator("#start")).to_be_visible()
    visit.button("The pool at a glance").click()
    expect(visit.page.get_by_role("dialog")).to_contain_text("demo")


def test_a_service_that_is_away_or_busy_is_told(visit: Visit, context: BrowserContext) -> None:
    visit.find("a red circle")
    context.set_offline(True)
    visit.words.fill("a blue star")
    expect(visit.page.get_by_role("heading", name="That did not work")).to_be_visible()
    context.set_offline(False)
    visit.faults.clear()  # the browser's own words about the network
    visit.button("Try again").click()
    expect(visit.page.locator(".tile .caption").first).to_have_text(re.compile("blue star"))

    refused: list[Route] = []

    def once(route: Route) -> None:
        if refused:
            route.continue_()
            return
        refused.append(route)
        route.fulfill(status=503, headers={"Retry-After": "1"}, json={"error": {}})

    visit.page.route("**/v1/search", once)
    visit.words.fill("a green arrow")
    expect(visit.page.locator(".tile .caption").first).to_have_text(re.compile("green arrow"))
    assert len(refused) == 1


def test_a_token_is_entered_once(browser: Browser, context: BrowserContext, made: Pictures) -> None:
    hosting = Hosting.of([f"pictures={made.root}"])
    with serving(hosting, Offer(token="sesame")) as served:
        visit = Visit(context, served.url)
        visit.page.goto(f"{served.url}/?q=a+blue+star")
        token = visit.page.get_by_label("Token")
        assert accessibility.faults(visit.page) == []
        token.fill("other")
        token.press("Enter")
        expect(visit.page.get_by_role("alert").filter(has_text="another token")).to_be_visible()
        token.fill("sesame")
        token.press("Enter")
        assert shown(made, visit) == {("blue", "star")}
        expect(visit.tiles.first.locator("img.loaded")).to_be_visible()
        visit.page.reload()
        assert shown(made, visit) == {("blue", "star")}
        assert visit.faults == []
        stranger = browser.new_context()
        page = stranger.new_page()
        page.goto(served.url)
        expect(page.get_by_label("Token")).to_be_visible()
        stranger.close()


def test_an_address_of_an_image_finds_what_is_like_it(
    context: BrowserContext, made: Pictures
) -> None:
    words = "a yellow house"
    path = f"/{list(made.shown).index(words):03d}.jpg"
    hosting = Hosting.of([f"pictures={made.root}"])
    with website() as site, serving(hosting, Offer(image_urls=True)) as served:
        site.files[path] = made.files[path]
        visit = Visit(context, served.url)
        visit.go()
        visit.words.fill(f"{site.url}{path}")
        visit.words.press("Enter")
        expect(visit.page.locator(".chip")).to_have_count(1)
        visit.settled()
        assert visit.captions(1) == [words]
        visit.go(f"?term=1*url*{site.url}/gone.jpg")
        expect(visit.page.locator("#message")).to_contain_text("404")
        assert visit.faults == []


def test_a_picture_that_is_not_stored_is_shown_from_where_it_was(
    visit: Visit, made: Pictures
) -> None:
    content = next(iter(made.files.values()))
    visit.page.route("**/v1/images/**", lambda route: route.fulfill(status=404))
    there = re.compile(r"^http://(127\.0\.0\.1|localhost):\d+/\d*[02468]\.jpg$")
    gone = re.compile(r"^http://(127\.0\.0\.1|localhost):\d+/\d*[13579]\.jpg$")
    visit.page.route(there, lambda route: route.fulfill(content_type="image/jpeg", body=content))
    visit.page.route(gone, lambda route: route.fulfill(status=404))
    visit.find("star")
    expect(visit.page.locator(".tile img.loaded").first).to_be_visible()
    expect(visit.page.locator(".tile .missing").first).to_contain_text("No picture")
    visit.faults.clear()


def test_an_image_that_is_elsewhere_is_asked_for(visit: Visit) -> None:
    visit.go("?term=1*image*0123456789abcdef")
    message = visit.page.locator("#message")
    expect(message).to_contain_text("Drop the image here")
    expect(visit.page.locator("#chips")).to_contain_text("image not here")


def test_a_pair_that_is_not_there_is_told(visit: Visit) -> None:
    visit.go(f"?q=star&item={'0' * 32}")
    expect(visit.page.get_by_role("dialog")).to_contain_text("This pair cannot be shown")


def test_a_link_that_is_answered_late_says_that_it_searches(visit: Visit) -> None:
    held: list[Route] = []
    visit.page.route("**/v1/search", lambda route: held.append(route))
    visit.page.goto(f"{visit.url}/?q=a+red+circle")
    expect(visit.page.get_by_role("heading", name="Searching")).to_be_visible()
    expect(visit.page.locator("#start")).to_be_hidden()
    expect(visit.words).to_have_value("a red circle")
    while not held:
        visit.page.wait_for_timeout(20)
    held.pop().continue_()
    expect(visit.tiles.first).to_be_visible()
    expect(visit.page.locator("#message")).to_be_hidden()
    assert visit.faults == []


def test_long_lists_are_shown_whole_when_asked_for(visit: Visit) -> None:
    def told(route: Route) -> None:
        answer = route.fetch()
        content = answer.json()
        if content["facets"]:
            content["facets"]["host"] = [[f"{number}.example", 40 - number] for number in range(30)]
        route.fulfill(response=answer, json=content)

    visit.page.route("**/v1/search", told)
    visit.find("star")
    hosts = visit.page.get_by_role("checkbox", name=re.compile("[.]example"))
    expect(hosts).to_have_count(8)
    visit.button("22 more").click()
    expect(hosts).to_have_count(30)
    expect(visit.button("Fewer")).to_be_focused()
    visit.button("Fewer").click()
    expect(hosts).to_have_count(8)


def test_an_index_that_has_gone_is_told_and_others_are_offered(
    visit: Visit, made: Pictures
) -> None:
    visit.page.goto(f"{visit.url}/?index=gone&q=a+red+circle")
    message = visit.page.locator("#message")
    expect(message).to_contain_text("gone")
    message.get_by_role("button", name="others").click()
    expect(visit.tiles.first).to_be_visible()
    assert shown(made, visit) == {("red", "circle")}
    expect(visit.page.get_by_label("Index", exact=True)).to_have_value("others")


def test_what_came_stays_when_more_is_refused(visit: Visit) -> None:
    def refuse(route: Route) -> None:
        asked = route.request.post_data_json
        # A next page, and what the bars are counted over.
        if asked["offset"] or asked["k"] == 1:
            route.fulfill(status=500, json={"error": {**TOLD}})
        else:
            route.continue_()

    visit.page.route("**/v1/search", refuse)
    visit.go("?q=star&fold=0&partition=00000&partition=00001")
    visit.page.mouse.move(700, 500)
    visit.page.mouse.wheel(0, 9_000)
    again = visit.button("Try again")
    expect(again).to_be_visible()
    assert visit.tiles.count()
    visit.page.unroute("**/v1/search")
    before = visit.page.evaluate("document.querySelector('#grid').clientHeight")
    again.click()
    expect(again).to_have_count(0)
    visit.page.wait_for_function(
        "before => document.querySelector('#grid').clientHeight > before", arg=before
    )


ODD = [
    {"caption": "a very wide one", "width": 9_000, "height": 3},
    {"caption": "a very tall one", "width": 3, "height": 9_000},
    {"caption": "lorem ipsum " * 900, "width": 200, "height": 200},
    {"caption": "x" * 10_000, "width": 200, "height": 200},
    {"caption": None, "width": None, "height": None, "url": "javascript:alert(1)"},
    {"caption": "<img src=x onerror=alert(1)>", "width": 0, "height": 0},
    {"caption": "\u05d7\u05ea\u05d5\u05dc \u05e9\u05d7\u05d5\u05e8", "width": 200, "height": 200},
]
"""What results may be like in a pool of the web."""


def test_odd_pairs_break_nothing(visit: Visit) -> None:
    def told(route: Route) -> None:
        answer = route.fetch()
        content = answer.json()
        for result, odd in zip(content["results"], ODD, strict=False):
            result.update(odd)
        route.fulfill(response=answer, json=content)

    visit.page.route("**/v1/search", told)
    visit.go("?q=star&fold=0")
    captions = visit.captions(len(ODD))
    assert captions[5] == "<img src=x onerror=alert(1)>"
    assert captions[4] == "without a caption"
    sizes = visit.page.locator(".frame").evaluate_all(
        "all => all.map((one) => [one.clientWidth, one.clientHeight])"
    )
    assert all(20 < size < 1_400 for pair in sizes for size in pair)
    direction = "getComputedStyle(document.querySelectorAll('.tile .caption')[6]).direction"
    assert visit.page.evaluate(direction) == "rtl"
    assert accessibility.faults(visit.page) == []
    for number in (2, 3):
        visit.tiles.nth(number).locator("a.open").click()
        # What can be done with it is seen without scrolling.
        expect(visit.button("More like this")).to_be_in_viewport()
        visit.button("All of the caption").click()
        expect(visit.button("More like this")).not_to_be_in_viewport()
        visit.leave()
    visit.tiles.nth(4).locator("a.open").click()
    expect(visit.page.locator("#detail-body .facts a")).to_have_count(0)


def test_a_service_that_tells_little_is_searched(context: BrowserContext, made: Pictures) -> None:
    hosting = Hosting.of([f"pictures={made.root}"])
    with serving(hosting, Offer(columns=("shard",), uploads=False)) as served:
        visit = Visit(context, served.url)
        visit.go()
        expect(visit.tiles.first.locator("img.loaded")).to_be_visible()
        visit.type("a blue star")
        assert visit.captions(1) == ["without a caption"]
        expect(visit.page.locator("#width-facet, #host-facet, #partition-facet")).to_have_count(3)
        expect(visit.page.locator("#width-facet")).to_be_hidden()
        visit.tiles.first.locator("a.open").click()
        expect(visit.page.locator("#detail-body")).not_to_contain_text("Original")
        assert accessibility.faults(visit.page) == []
        assert visit.faults == []


def test_an_index_is_chosen(visit: Visit) -> None:
    visit.find("a red circle")
    wanted = visit.captions(3)
    visit.page.get_by_label("Index", exact=True).select_option("others")
    expect(visit.page).to_have_url(re.compile("index=others"))
    visit.settled()
    assert visit.captions(3) == wanted
    source = visit.tiles.first.locator("img.loaded").get_attribute("src")
    assert source
    assert "index=others" in source


def test_the_colours_are_chosen(visit: Visit) -> None:
    visit.find("star")
    paper = "getComputedStyle(document.body).backgroundColor"
    light = visit.page.evaluate(paper)
    for _ in range(2):
        visit.page.locator("#theme").click()
    dark = visit.page.evaluate(paper)
    assert dark != light
    visit.page.reload()
    assert visit.page.evaluate(paper) == dark


@pytest.mark.parametrize(
    ("device", "scheme"), [(DESKTOP, "light"), (PHONE, "dark")], ids=["desktop", "phone"]
)
def test_everybody_can_use_it(
    browser: Browser, url: str, device: dict[str, Any], scheme: Any
) -> None:
    context = browser.new_context(color_scheme=scheme, reduced_motion="reduce", **device)
    visit = Visit(context, url)
    page, found = visit.page, {}
    visit.go()
    found["start"] = accessibility.faults(page)
    visit.go("?q=star&term=-0.5*text*red&least=0.1")
    found["results"] = accessibility.faults(page)
    if device is PHONE:
        visit.button("Filters 1").click()
        found["filters"] = accessibility.faults(page)
        visit.button("Close the filters").click()
    page.locator(".tile a.open").nth(1).click()
    expect(page.locator(".columns-of")).to_be_visible()
    found["detail"] = accessibility.faults(page)
    page.keyboard.press("Escape")
    page.locator("#save").click()
    found["download"] = accessibility.faults(page)
    page.keyboard.press("Escape")
    page.locator(".tile a.open").first.focus()
    for key in ("x", "ArrowRight", "x"):
        page.keyboard.press(key)
    found["selected"] = accessibility.faults(page)
    page.locator("#selection-compare").click()
    found["compared"] = accessibility.faults(page)
    context.close()
    assert {where: faults for where, faults in found.items() if faults} == {}


def test_focus_can_be_seen_and_comes_back(visit: Visit) -> None:
    visit.find("a red circle")
    link = visit.page.locator(".tile a.open").nth(2)
    link.focus()
    visit.page.keyboard.press("ArrowLeft")
    outline = "getComputedStyle(document.activeElement.querySelector('.frame')).outlineStyle"
    assert visit.page.evaluate(outline) == "solid"
    visit.page.keyboard.press("Enter")
    expect(visit.page.get_by_role("dialog")).to_be_visible()
    visit.page.keyboard.press("Escape")
    expect(visit.page.locator(".tile a.open").nth(1)).to_be_focused()
    visit.page.keyboard.press("Enter")
    visit.page.keyboard.press("ArrowRight")
    visit.page.keyboard.press("ArrowRight")
    visit.page.keyboard.press("Escape")
    expect(visit.page.locator(".tile a.open").nth(3)).to_be_focused()


def test_the_page_names_nobody_else(url: str) -> None:
    """Nothing is loaded from another host, and what may be is bounded by a policy."""
    with httpx.Client(base_url=url) as http:
        answer = http.get("/")
        assert "default-src 'self'" in answer.headers["content-security-policy"]
        assert answer.headers["content-type"].startswith("text/html")
        assert http.get("/page/main.js").headers["content-type"].startswith("text/javascript")
    for file in (CHECKOUT / "clip_assets/service/page").iterdir():
        text = file.read_text().replace("http://www.w3.org/2000/svg", "")
        assert not re.findall(r"https?://[a-z]|[\"'(]//", text), file.name
        assert " style=" not in text, file.name


def test_the_documents_show_and_tell_what_is_tested(
    browser: Browser, url: str, tmp_path: Path
) -> None:
    taken = {path.name for path in page_pictures.take(browser, url, tmp_path)}
    page = CHECKOUT / "docs" / "page.md"
    shown = set(re.findall(r"pictures/([\w-]+[.]jpg)", page.read_text()))
    assert shown == taken == {path.name for path in page.parent.glob("pictures/page-*")}
    assert all((tmp_path / name).stat().st_size > 10_000 for name in taken)
    told = documented()
    tested = re.findall(r"visit[.]task[(]([0-9]+)[)]", Path(__file__).read_text())
    assert set(told) == {int(number) for number in tested} == set(range(1, 11))
    assert all(there is None or here <= there for here, there in told.values())


GO_ON = """
import sys
from clip_assets.commands import demo
if demo.goes_on(sys.stdin, no_serve=False):
    demo.go_on_serving({root!r})
"""

CLOSED = 'exec "$0" "$@" <&-'
"""Of a shell: a command without a standard input."""


@pytest.mark.slow
def test_the_demo_goes_on_with_the_page_in_a_terminal_alone(made: Pictures) -> None:
    command = [sys.executable, "-c", GO_ON.format(root=str(made.root))]
    for silent in (command, ["sh", "-c", CLOSED, *command]):
        ended = subprocess.run(silent, stdin=subprocess.DEVNULL, capture_output=True, check=True)
        assert ended.stdout == b""
    terminal, end = os.openpty()
    own = ["setsid", "--ctty", *command]
    running = subprocess.Popen(own, stdin=end, stdout=subprocess.PIPE, text=True)
    assert running.stdout
    try:
        lines = iter(running.stdout.readline, "")
        address = next(line.strip() for line in lines if "http://" in line)
        assert "clip_assets" in httpx.get(address).text
        os.write(terminal, b"\x03")  # Ctrl-C, as its keyboard sends it
        assert running.wait(30) == 0
    finally:
        running.kill()
        running.communicate()
        for descriptor in (terminal, end):
            os.close(descriptor)
