"""Urls become batches: shares hold, dead links are replaced, and nobody runs ahead."""

import asyncio
import hashlib
import itertools
import json
import threading
from collections import Counter
from collections.abc import Generator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from aiohttp import web
from torch.utils.data import DataLoader

from clip_assets import bricks
from clip_assets.errors import ConfigurationError
from clip_assets.pool import takedowns
from clip_assets.pool.pool import Pool
from clip_assets.retrieval.folder_search import FolderSearcher
from clip_assets.retrieval.queries import Uid
from clip_assets.retrieval.search import Searcher
from clip_assets.settings import DownloadSettings, Settings
from clip_assets.storage.store import Store
from clip_assets.streaming.cropping import CenterCrop
from clip_assets.streaming.decoded import Flaw, TrainingBatch
from clip_assets.streaming.listed_urls import UrlList, url_lists
from clip_assets.streaming.url_cache import UrlCache
from clip_assets.streaming.url_stream import Lanes, UrlStream
from clip_assets.streaming.url_streaming import UrlStreamingDataset
from clip_assets_tests.download.web import Web, serving
from clip_assets_tests.models import draw, encoded
from clip_assets_tests.retrieval.conftest import Captions, WordEncoder
from clip_assets_tests.service.hosting.test_hosted_folders import write_folder
from clip_assets_tests.threads import left_over

SETTINGS = DownloadSettings(
    allow_hosts=["127.0.0.1"], retries=0, extract_exif=False, concurrency=4, deadline_s=60
)
CROP = CenterCrop(16)
PICTURES = [encoded(draw(number)) for number in range(12)]


@pytest.fixture(scope="module")
def shop() -> Generator[Web]:
    """A site of pictures; every third is gone, and /blue/10.jpg is none."""
    with serving() as found:
        for colour, count in (("red", 120), ("blue", 90)):
            for number in range(count):
                if number % 3:
                    found.serve(f"/{colour}/{number}.jpg", PICTURES[number % 12])
        found.serve("/blue/10.jpg", b"<html>nothing to see</html>")
        yield found


@pytest.fixture
def site(shop: Web) -> Web:
    """The same, as if nobody had asked yet."""
    shop.requests.clear()
    return shop


def uid_of(path: str) -> str:
    return hashlib.md5(path.encode(), usedforsecurity=False).hexdigest()


def listed(site: Web, colour: str, numbers: Sequence[int], store: Store | None = None) -> UrlList:
    paths = [f"/{colour}/{number}.jpg" for number in numbers]
    columns = {
        "uid": [uid_of(path) for path in paths],
        "url": [site.url(path) for path in paths],
        "caption": [f"{colour} {number}" for number in numbers],
        "similarity": [1 - number / 1000 for number in numbers],
    }
    return UrlList(colour, pa.table(columns), store)


def mixture(site: Web, **changes: Any) -> UrlStream:
    lists = [listed(site, "red", range(120)), listed(site, "blue", range(90))]
    arguments = {"shares": [2, 1], "batch_size": 12, "length": 84} | changes
    return UrlStream(lists, **arguments)


def dataset(stream: UrlStream, *, cache: UrlCache | None = None, **changes: Any) -> Any:
    return UrlStreamingDataset(stream, SETTINGS, cache, **{"decode": CROP} | changes)


def alive(colour: str, count: int) -> list[str]:
    """The first captions of a list whose urls give a picture."""
    numbers = range(120 if colour == "red" else 90)
    there = [n for n in numbers if n % 3 and (colour, n) != ("blue", 10)]
    return [f"{colour} {number}" for number in there][:count]


def captions(batches: Sequence[TrainingBatch]) -> list[str]:
    return [caption for batch in batches for caption in batch.captions]


def of(colour: str, batches: Sequence[TrainingBatch]) -> list[str]:
    return [caption for caption in captions(batches) if caption.startswith(colour)]


def test_shares_hold_in_every_batch_and_dead_links_are_replaced_from_the_same_list(
    site: Web,
) -> None:
    data = dataset(mixture(site), scores=["similarity"])
    batches = list(data)
    assert [Counter(batch.queries) for batch in batches] == [Counter(red=8, blue=4)] * 7
    assert batches[0].images.shape == (12, 3, 16, 16)
    # The best that are there, in their order.
    assert of("red", batches) == alive("red", 56)
    assert of("blue", batches) == alive("blue", 28)
    number = int(batches[0].captions[5].split()[1])
    assert abs(float(batches[0].scores["similarity"][5]) - (1 - number / 1000)) < 1e-6
    flaws = [flaw for batch in batches for flaw in batch.flaws]
    assert Flaw(uid_of("/red/3.jpg"), "http_404") in flaws
    assert Flaw(uid_of("/blue/10.jpg"), "undecodable image") in flaws
    assert Counter(flaw.reason for flaw in flaws)["http_404"] >= 28 + 14
    assert max(site.requests.values()) == 1
    assert (data.epoch, len(data)) == (1, 7)


def test_ranks_fill_their_own_slots_and_ask_for_nothing_twice(site: Web) -> None:
    stream = mixture(site, batch_size=13, length=78)
    ranks = [dataset(stream, lanes=Lanes(rank, 3)) for rank in range(3)]
    steps = list(zip(*ranks, strict=True))
    for step, parts in enumerate(steps):
        assert [len(part) for part in parts] == [4, 4, 5]
        queries = Counter(query for part in parts for query in part.queries)
        # A third of 13 is 4 or 5.
        assert [queries["red"], queries["blue"]] == stream.shares.of(step).tolist()
    flat = [part for parts in steps for part in parts]
    assert len(set(captions(flat))) == 78
    assert max(site.requests.values()) == 1
    for lane, batches in enumerate(zip(*steps, strict=True)):
        there = [f"red {row}" for row in stream.rows_of(0, lane, 3) if row % 3]
        assert of("red", batches) == there[: len(of("red", batches))]


def test_worker_processes_make_batches_by_turns(site: Web) -> None:
    data = dataset(mixture(site, length=72))
    loader = DataLoader(data.for_torch(), batch_size=None, num_workers=2)
    batches = list(loader)
    assert [Counter(batch.queries) for batch in batches] == [Counter(red=8, blue=4)] * 6
    assert len(set(captions(batches))) == 72
    assert max(site.requests.values()) == 1
    # Within an epoch the workers have no state together.
    data.load_state_dict(
        {"stream": data._digest, "epoch": 0, "batch": 1, "cursors": {"0": [[8], [4]]}}
    )
    with pytest.raises(ConfigurationError, match="2 of them at batch 1"):
        next(data.turns(0, 2))


def test_who_takes_slowly_stops_the_requests(site: Web) -> None:
    numbers = [number for number in range(120) if number % 3]
    stream = UrlStream([listed(site, "red", numbers)], length=60, batch_size=5)
    data = dataset(stream)
    before = threading.enumerate()
    batches = iter(data)
    for taken in (1, 2, 3):
        next(batches)
        window = batches.gi_frame.f_locals["window"]  # pyright: ignore[reportAttributeAccessIssue]
        while not window.is_at_rest:
            threading.Event().wait(0.01)
        # Four for each of the four requests at once, and whom the others waited for.
        passed = sum(len(course.passed) for course in window._courses)
        assert sum(site.requests.values()) == 5 * taken + 16 + passed
    batches.close()  # pyright: ignore[reportAttributeAccessIssue]
    assert left_over(before) == []


def test_one_that_is_slow_holds_nobody_up_and_is_not_lost(site: Web) -> None:
    asked, answers = threading.Event(), threading.Event()

    async def slow(_: web.Request) -> web.Response:
        asked.set()
        while not answers.is_set():
            await asyncio.sleep(0.01)
        return web.Response(body=PICTURES[0])

    site.pages["/red/0.jpg"] = slow
    stream = UrlStream([listed(site, "red", range(90))], length=48, batch_size=12)
    data = dataset(stream)
    before = list(itertools.islice(data, 3))
    assert asked.is_set()
    assert captions(before) == alive("red", 36)
    state = json.loads(json.dumps(data.state_dict()))
    [cursors] = state["cursors"].values()
    assert cursors == [[int(before[2].captions[-1].split()[1]) + 1, 0]]
    answers.set()
    data.load_state_dict(state)
    assert captions(list(data)) == ["red 0", *alive("red", 47)[36:]]
    del site.pages["/red/0.jpg"]


def test_a_list_that_ends_is_an_error_or_what_is_said(site: Web) -> None:
    lists = [listed(site, "red", range(60)), listed(site, "blue", range(12))]
    told = {"length": 30, "batch_size": 10, "shares": [7, 3]}
    with pytest.raises(ConfigurationError) as error:
        list(dataset(UrlStream(lists, **told)))
    assert "share of blue: found the end of its list: of 12 urls 7 gave a sample" in str(
        error.value
    )
    assert "http_404 4" in str(error.value)
    fewer = list(dataset(UrlStream(lists, when_short="fewer", **told)))
    assert [len(batch) for batch in fewer] == [10, 10, 8]
    assert fewer[2].flaws[-2:] == [Flaw("blue", "list ended")] * 2
    repeat = list(dataset(UrlStream(lists, when_short="repeat", **told)))
    # Few are under way, and one that all others wait for is passed.
    assert Counter(of("blue", repeat)) == Counter([*alive("blue", 7), *alive("blue", 2)])
    assert sorted(of("red", repeat)) == sorted(of("red", fewer)) == sorted(alive("red", 21))
    dead = UrlStream([listed(site, "red", [0, 3, 6])], length=2, batch_size=2, when_short="repeat")
    with pytest.raises(ConfigurationError, match="of 3 urls 0 gave a sample"):
        next(iter(dataset(dead)))


def test_one_that_goes_in_a_second_round_is_asked_for_no_third_time(site: Web) -> None:
    numbers = [number for number in range(60) if number % 3]
    last = f"/red/{numbers[-1]}.jpg"
    there = site.pages[last]

    async def once(request: web.Request) -> web.StreamResponse:
        return web.Response(status=404) if site.requests[last] > 1 else await there(request)

    site.pages[last] = once
    stream = UrlStream([listed(site, "red", numbers)], length=160, batch_size=10,
                       when_short="repeat")  # fmt: skip
    seen = Counter(captions(list(dataset(stream))))
    site.pages[last] = there
    assert (site.requests[last], seen[f"red {numbers[-1]}"]) == (2, 1)
    assert {seen[f"red {number}"] for number in numbers[:-1]} >= {4}


def test_memory_of_files_is_given_back_when_they_are_decoded(site: Web) -> None:
    numbers = [number for number in range(60) if number % 3]
    size = 8_000
    small = SETTINGS.model_copy(update={"max_bytes": size, "max_memory_bytes": 4 * size})
    assert sum(len(PICTURES[number % 12]) for number in numbers) > sum(small.body_bytes)
    stream = UrlStream([listed(site, "red", numbers)], length=len(numbers), batch_size=10)
    batches = list(UrlStreamingDataset(stream, small, None, decode=CROP))
    assert len(captions(batches)) == len(numbers)


def test_what_cannot_be_is_refused_before_anything_is_asked_for(site: Web) -> None:
    few, none = listed(site, "red", range(9)), listed(site, "blue", [])
    for lists, arguments, found in (
        ([few], {"length": 10, "batch_size": 10}, "share of red: found 9 urls, expected the 10"),
        ([few, none], {"length": 2, "batch_size": 2}, "share of blue: found no urls"),
        ([few, few], {"length": 2, "batch_size": 2}, "lists red, red"),
        ([few], {"length": 2, "batch_size": 4}, "length: found 2"),
        ([few], {"length": 2, "batch_size": 2, "shares": [1, 1]}, "2 shares"),
        ([few], {"length": 2, "batch_size": 2, "when_short": "less"}, "expected error, fewer, re"),
    ):
        with pytest.raises(ConfigurationError, match=found):
            UrlStream(lists, **arguments)
    with pytest.raises(ConfigurationError, match="rank 2 of 2"):
        Lanes(2, 2)
    assert not site.requests


def test_a_url_of_two_lists_is_asked_for_once(site: Web) -> None:
    first = listed(site, "red", range(30))
    again = UrlList("again", first.table.take(list(range(5, 30))))
    stream = UrlStream([first, again], length=10, batch_size=2)
    assert stream.repeated == 25
    # Each stays where it stands highest: of "again" those are the later ones.
    assert [rows.tolist() for rows in stream.rows] == [[*range(5)], [*range(25)]]


def test_it_goes_on_with_the_cache_as_if_nothing_had_happened(site: Web, tmp_path: Path) -> None:
    stream = mixture(site)
    whole = list(dataset(stream))
    left = dataset(stream, cache=UrlCache(tmp_path / "cache"))
    before = list(itertools.islice(left, 3))
    state = left.state_dict()
    assert state["batch"] == 3
    site.requests.clear()
    cache = UrlCache(tmp_path / "cache")
    paths = [f"/{colour}/{number}.jpg" for colour in ("red", "blue") for number in range(90)]
    known = [path for path in paths if uid_of(path) in cache or cache.fault(uid_of(path))]
    onward = dataset(mixture(site), cache=cache)
    onward.load_state_dict(state)
    after = list(onward)
    assert captions(before + after) == captions(whole)
    assert all((a.images == b.images).all() for a, b in zip(before + after, whole, strict=True))
    # What had come was not asked for again, nor what had been in vain; what was under way was.
    assert len(known) >= 36 * 3 / 2 - 2
    assert not set(known) & site.requests.keys()
    asked = {path for path in site.requests if path.startswith("/red")}
    assert min(int(path[5:-4]) for path in asked) > 35
    site.requests.clear()
    again = list(onward)  # another epoch: other slots, the same samples
    assert onward.epoch == 2
    assert sorted(captions(again)) == sorted(captions(whole))
    assert onward.counts["red"]["cached"]
    had = {f"/{caption.replace(' ', '/')}.jpg" for caption in captions(whole)}
    assert not had & site.requests.keys()


def test_other_ranks_go_on_and_nothing_comes_twice(site: Web) -> None:
    stream = mixture(site)
    ranks = [dataset(stream, lanes=Lanes(rank, 2)) for rank in range(2)]
    before = [batch for rank in ranks for batch in itertools.islice(rank, 3)]
    states = [rank.state_dict() for rank in ranks]
    alone = dataset(mixture(site), lanes=Lanes(0, 1, count=2))
    with pytest.raises(ConfigurationError, match=r"states of lanes \[0\]"):
        alone.load_state_dict(states[0])
    alone.load_state_dict(*states)
    after = list(alone)
    assert [Counter(batch.queries) for batch in after] == [Counter(red=8, blue=4)] * 4
    seen = captions([*before, *after])
    assert len(seen) == len(set(seen)) == 84
    other = dataset(mixture(site, seed=1), lanes=Lanes(0, 1, count=2))
    with pytest.raises(ConfigurationError, match="expected one step of stream"):
        other.load_state_dict(*states)


def test_settings_and_takedowns_are_obeyed(site: Web, local_store: Store, tmp_path: Path) -> None:
    site.serve("/red/0.jpg", PICTURES[0], X_Robots_Tag="noai")
    cache = UrlCache(tmp_path / "cache")
    urls = listed(site, "red", [1, 2, 0, 4, 5], local_store)
    none = pa.table({"uid": pa.array([], pa.string()), "url": pa.array([], pa.string())})
    takedowns.take_down(local_store, [uid_of("/red/2.jpg")], [], none, None)
    cache.keep(replace(urls.datum(1), image=PICTURES[2]))
    batches = list(dataset(UrlStream([urls], length=3, batch_size=3), cache=cache))
    assert captions(batches) == ["red 1", "red 4", "red 5"]
    reasons = {flaw.key: flaw.reason for flaw in batches[0].flaws}
    assert reasons[uid_of("/red/2.jpg")] == "taken_down"
    assert reasons[uid_of("/red/0.jpg")] == "policy_noai"
    assert "/red/2.jpg" not in site.requests
    assert uid_of("/red/2.jpg") not in UrlCache(tmp_path / "cache")
    # With other settings it may be had.
    assert UrlCache(tmp_path / "cache").fault(uid_of("/red/0.jpg")) is None
    del site.pages["/red/0.jpg"]
    site.requests.clear()
    public = UrlStreamingDataset(UrlStream([urls], length=1, batch_size=1), DownloadSettings())
    with pytest.raises(ConfigurationError, match="private_address 4"):
        next(iter(public))
    assert not site.requests


def test_lists_are_what_queries_find_in_a_pool_or_in_an_index_folder(
    local_store: Store, tmp_path: Path
) -> None:
    """Of the pool there are vectors and urls, and no images at all."""
    made = Captions(local_store)
    made.add(0, [f"thing {number}" for number in range(40)])
    made.index()
    folder = write_folder(tmp_path / "index", "Flat")
    pool = Pool(Store(str(folder)), Settings(root=str(folder)), {}, WordEncoder)
    with Searcher.open(made.pool) as searcher:
        one, two = url_lists(searcher, ["thing 5", Uid(uid_found(searcher, "thing 7"))], k=10)
        [none] = url_lists(searcher, ["thing 5"], k=10, threshold=0.999)
        best = searcher.search("thing 5", k=10)
    assert (one.name, two.name, len(one), len(two)) == ("thing 5", "query 1", 10, 10)
    first, second = one.datum(0), two.datum(0)
    assert (first.caption, second.caption) == (best[0].caption, "thing 7")
    assert first.fields["url"] == best[0].url
    assert abs(first.fields["similarity"] - best[0].similarity) < 1e-6
    assert first.fields["query"] == "thing 5"
    assert one.store is made.pool.store
    with pytest.raises(ConfigurationError, match="share of thing 5: found no urls"):
        UrlStream([none], length=1, batch_size=1)
    with FolderSearcher(pool) as searcher:
        [there] = url_lists(searcher, ["thing 5"], k=4)
    assert (there.datum(0).caption, there.datum(0).fields["url"]) == ("thing 5", "http://h/5.jpg")


def uid_found(searcher: Searcher, caption: str) -> str:
    [hit] = searcher.search(caption.encode(), k=1)
    assert hit.caption == caption
    return hit.uid


def test_a_list_of_a_table_has_its_columns(site: Web, tmp_path: Path) -> None:
    urls = [site.url(f"/red/{number}.jpg") for number in range(10)]
    table = pa.table({"URL": urls, "TEXT": [f"red {n}" for n in range(10)], "aesthetic": range(10)})
    pq.write_table(table, tmp_path / "pairs.parquet")
    listed = UrlList.of("shop", bricks.from_table(str(tmp_path / "pairs.parquet")))
    stream = UrlStream([listed], length=6, batch_size=3)
    batches = list(dataset(stream, scores=["aesthetic"]))
    assert sorted(captions(batches)) == alive("red", 6)  # one that is late is passed
    scores = [score for batch in batches for score in batch.scores["aesthetic"].tolist()]
    assert [f"red {score:.0f}" for score in scores] == captions(batches)
    with pytest.raises(ConfigurationError, match="'aesthetics', which no sample says"):
        dataset(stream, scores=["size_bytes", "aesthetics"])
