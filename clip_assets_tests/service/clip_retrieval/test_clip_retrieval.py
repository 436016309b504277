"""clip-retrieval's own client and its own front, as they were released, against a service of ours.

``make test`` unpacks them into a folder of the environment. What requests they may send at all is
tried by ``test_clipback``.
"""

import json
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from clip_assets_tests.retrieval.conftest import WordEncoder
from clip_assets_tests.servers import WebServer, serving
from clip_assets_tests.service.browsing import PATIENCE_MS, chromium
from clip_assets_tests.service.conftest import ANIMALS, Served
from clip_assets_tests.service.released import module_of, released


@pytest.fixture(scope="module")
def client(animals: Served) -> Any:
    """Makes ``ClipClient``s of the service, by the module alone."""
    return partial(module_of("clip_client").ClipClient, f"{animals.url}/knn-service")


def test_client_finds_by_text(client: Any) -> None:
    """With all its defaults, of which some ask for models that are not there."""
    first, *others = client("animals").query(text="fox")
    assert (first["caption"], first["url"]) == ("fox", "http://h/00001/1")
    assert first["similarity"] == max(one["similarity"] for one in (first, *others)) > 0.9
    assert first["image_path"] == "00001/00000/00000001"
    assert sorted(one["caption"] for one in (first, *others)) == sorted(ANIMALS)


def test_client_finds_by_image_and_embedding(client: Any, tmp_path: Path) -> None:
    words = WordEncoder()
    (tmp_path / "picture.jpg").write_bytes(b"hen")
    three = client("animals", num_images=3)
    by_image = three.query(image=str(tmp_path / "picture.jpg"))
    vector = words.encode_images([words.preprocess(b"hen")])[0].tolist()
    assert by_image[0]["caption"] == "hen"
    assert len(by_image) == 3
    by_vector = three.query(embedding_input=vector)
    assert [one["id"] for one in by_vector] == [one["id"] for one in by_image]


def test_client_is_told_what_is_wrong(client: Any) -> None:
    """It raises nothing: its caller gets what the service answered."""
    assert "nope" in str(client("nope").query(text="fox"))


@pytest.fixture(scope="module")
def front() -> Iterator[str]:
    """The front on a server of its own, as it is put beside a service."""

    class Quiet(SimpleHTTPRequestHandler):
        def __init__(self, *told: Any) -> None:
            super().__init__(*told, directory=str(released("front/build")))

        def log_message(self, *_told: object) -> None:
            """Not in the tests' output."""

    server = WebServer(Quiet)
    with serving(server):
        yield server.url


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture
def page(browser: Browser, front: str, animals: Served) -> Iterator[Page]:
    """The front, told of the service with the slash that its configuration puts behind it."""
    page = browser.new_page()
    page.set_default_timeout(PATIENCE_MS)
    page.goto(f"{front}/?back={animals.url}/&query=fox")
    expect(page.locator("figcaption")).to_have_count(len(ANIMALS))
    yield page
    page.close()


def first_is(page: Page, caption: str) -> None:
    """Wait until a caption is the first result's."""
    expect(page.locator("figcaption").first).to_have_text(caption)


def test_front_finds_what_its_address_asks_for(page: Page) -> None:
    first_is(page, "fox")
    shown = [text.strip() for text in page.locator("figcaption").all_text_contents()]
    assert sorted(shown) == sorted(ANIMALS)
    options = page.locator("select").first.locator("option")
    assert options.all_text_contents() == ["animals"]


def test_front_finds_by_text_and_image(page: Page, tmp_path: Path) -> None:
    page.locator("#searchBar").fill("dog")
    page.locator("#textSearch").click()
    first_is(page, "dog")
    (tmp_path / "picture.jpg").write_bytes(b"hen")
    page.locator("#filechooser").set_input_files(tmp_path / "picture.jpg")
    first_is(page, "hen")


def test_front_downloads_results(page: Page, tmp_path: Path) -> None:
    with page.expect_download() as told:
        page.locator("#download").click()
    told.value.save_as(tmp_path / "results.json")
    results = json.loads((tmp_path / "results.json").read_bytes())
    assert results[0]["caption"] == "fox"
    assert len(results) == len(ANIMALS)
