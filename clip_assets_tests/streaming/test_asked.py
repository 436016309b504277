"""What queries find in a pool are sets of samples, one for each, to be mixed by shares."""

from collections import Counter
from collections.abc import Generator

import pytest

from clip_assets.errors import ConfigurationError
from clip_assets.retrieval.search import Searcher
from clip_assets.storage.store import Store
from clip_assets.streaming.asked import of_queries
from clip_assets.streaming.pool_samples import PoolSamples
from clip_assets.streaming.stream import Stream
from clip_assets_tests.retrieval.conftest import WordEncoder
from clip_assets_tests.streaming.conftest import Streamed, uid_of
from clip_assets_tests.vectors import Indexed

NUMBERS = [number for number in range(40) if number % 4]


class Asked(Streamed, Indexed):
    """Numbered samples, and an index of them by their captions."""

    def embed(self) -> None:
        words = WordEncoder()
        captions = [f"caption {number}" for number in NUMBERS]
        pixels = [words.preprocess(caption.encode()) for caption in captions]
        rows = [
            {"uid": uid_of(number), "url": f"http://h/{number}", "caption": f"caption {number}"}
            for number in NUMBERS
        ]
        sides = words.encode_images(pixels), words.encode_text(captions)
        self.put(0, sides, rows, content="captions", model=words.identity)
        self.index()


@pytest.fixture
def made(local_store: Store) -> Asked:
    made = Asked(local_store, encoder=WordEncoder)
    made.add(0, [range(25), range(25, 40)])
    made.embed()
    return made


@pytest.fixture
def searcher(made: Asked) -> Generator[Searcher]:
    with Searcher.open(made.pool) as searcher:
        yield searcher


def numbers(samples: PoolSamples) -> list[int]:
    return [samples.read(row).fields["number"] for row in range(len(samples))]


def test_sets_are_what_queries_find_the_nearest_first(searcher: Searcher) -> None:
    five, nine = of_queries(searcher, ["caption 5", "caption 9"], k=6, columns=["aesthetic"])
    assert (five.name, len(five), len(nine)) == ("caption 5", 6, 6)
    found = [hit.uid for hit in searcher.search("caption 5", k=6)]
    assert [uid_of(number) for number in numbers(five)] == found
    assert (numbers(five)[0], numbers(nine)[0]) == (5, 9)
    assert five.read(0).fields["aesthetic"] == 5 / 8
    close = of_queries(searcher, "caption 5", k=6, threshold=0.8)
    assert [numbers(samples) for samples in close] == [[5]]


def test_a_query_without_results_is_refused_as_a_share(searcher: Searcher) -> None:
    some, none = of_queries(searcher, ["caption 5", "unicorns"], k=6, threshold=0.8)
    assert (len(some), len(none)) == (1, 0)
    with pytest.raises(ConfigurationError, match="share of unicorns: found no samples"):
        Stream([some, none], shares=[1, 1], batch_size=2)
    with pytest.raises(ConfigurationError, match="unicorns: found no samples"):
        Stream(none)


def test_shares_hold_and_those_that_cannot_be_met_are_refused(searcher: Searcher) -> None:
    sets = of_queries(searcher, ["caption 5", "caption 9"], k=6)
    with pytest.raises(ConfigurationError, match="share of caption 5: found 6 samples, expected"):
        Stream(sets, shares=[9, 1], batch_size=10)
    stream = Stream(sets, shares=[2, 1], batch_size=6, length=24)
    for batch in range(4):
        places = stream.places(range(6 * batch, 6 * batch + 6))
        assert Counter(number for number, _ in places) == {0: 4, 1: 2}
    with pytest.raises(ConfigurationError, match="sets of different names"):
        Stream(of_queries(searcher, ["caption 5", "caption 5"], k=6), batch_size=2)


def test_what_the_index_has_and_the_shards_have_no_longer_is_left_out(made: Asked) -> None:
    with Searcher.open(made.pool) as before:
        made.add(0, [range(25)])
        with Searcher(made.pool, before.version) as searcher:
            [samples] = of_queries(searcher, ["caption 30"], k=len(NUMBERS))
    assert sorted(numbers(samples)) == [number for number in NUMBERS if number < 25]
    assert samples.left_out == len([number for number in NUMBERS if number >= 25])
