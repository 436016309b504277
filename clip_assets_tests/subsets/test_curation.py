"""Balancing, caps, combined scores and pruning, against their rules written out in numpy."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clip_assets.errors import ConfigurationError, SourceFormatError
from clip_assets.settings import with_subset
from clip_assets.storage.store import Store
from clip_assets.storage.uids import pairs
from clip_assets.subsets import clusters, entries, grouping
from clip_assets.subsets.clusters import nearest, trained
from clip_assets.subsets.draws import uniform
from clip_assets.subsets.grouping import Groups
from clip_assets.subsets.matching import EntryList
from clip_assets.subsets.methods.balanced import at_tail
from clip_assets.subsets.methods.picks import quotas
from clip_assets.subsets.methods.soft_capped import drawn
from clip_assets_tests.outcomes import Pair
from clip_assets_tests.subsets.test_by_vectors import made_up, unit
from clip_assets_tests.subsets.vectored import Vectored, uid

ROWS = 60
WIDTHS = np.random.default_rng(3).permutation(ROWS) + 100
IMAGES, TEXTS = made_up(ROWS)
# Ten near-copies of the first ten.
IMAGES[50:] = IMAGES[:10] + np.float16(0.01)
CAPTIONS = [
    " ".join(np.random.default_rng(n).choice(["a", "red", "dog", "cat", "old car", "x,y"], 4))
    for n in range(ROWS)
]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Vectored:
    """Sixty pairs of three hosts in two partitions, with vectors and captions."""
    made = Vectored(Store(str(tmp_path_factory.mktemp("pool"))))
    for part in range(2):
        numbers = range(30 * part, 30 * part + 30)
        some = [
            Pair(
                CAPTIONS[n],
                url=f"HTTP://{'abbccc'[n % 6]}.org:80/{n}",
                uid=uid(n),
                width=int(WIDTHS[n]),
                similarity=float((n * 7 % ROWS) / ROWS),
            )
            for n in numbers
        ]
        made.embed(part, some, IMAGES[numbers], TEXTS[numbers])
    made.metadata()
    return made


def ranks_of(scores: np.ndarray) -> np.ndarray:
    return (scores[None] <= scores[:, None]).mean(1)


def test_the_worst_rank_counts(made: Vectored) -> None:
    similar = np.array([n * 7 % ROWS for n in range(ROWS)])
    worst = np.minimum(ranks_of(similar), ranks_of(WIDTHS))
    definition = {"ranks": [{"by": "clip_similarity_score"}, {"by": "original_width"}]}
    for bound, least in (({"threshold": 0.6}, 0.6), ({"k": 9}, np.sort(worst)[-9])):
        expected = np.flatnonzero(worst >= least).tolist()
        assert made.chosen(definition | bound, ROWS) == expected


@pytest.mark.parametrize(
    ("definition", "told"),
    [
        ({"ranks": [{"by": "a"}, {"by": "b", "k": 3}], "k": 1}, "is a score alone"),
        ({"ranks": [{"by": "a"}, {"sample": 0.5}], "k": 1}, "needs a method with a score"),
        ({"ranks": [{"by": "a"}], "k": 1}, "at least 2"),
        ({"soft_cap": 10}, "score: Field required"),
        ({"entries": "x"}, "t or tail"),
    ],
)
def test_definitions_that_are_none(definition: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigurationError, match=told):
        with_subset({}, "mine", definition)


def test_caps(made: Vectored) -> None:
    hosts = np.array(["abbccc"[n % 6] for n in range(ROWS)])
    best: list[int] = []
    for host in "abc":
        own = np.flatnonzero(hosts == host)
        best += own[np.argsort(-WIDTHS[own])][:12].tolist()
    definition = {"cap": 12, "per": "host", "score": {"by": "original_width"}}
    assert made.chosen(definition, ROWS) == sorted(best)
    assert len(best) == 10 + 12 + 12
    chosen = made.chosen({"cap": 5, "per": "host"}, ROWS)
    assert np.unique(hosts[chosen], return_counts=True)[1].tolist() == [5, 5, 5]
    assert made.chosen({"cap": 5, "per": "host", "seed": 1}, ROWS) != chosen
    report = made.subset("mine").report
    assert report.figures["cap per host"] == {"groups": 3, "groups_over_the_cap": 3}
    assert made.chosen({"cap": 1, "per": "text"}, ROWS) != chosen
    assert len(made.chosen({"cap": 1, "per": "text"}, ROWS)) == len(set(CAPTIONS))
    assert 0 < len(made.chosen({"cap": 2, "per": "cluster", "clusters": 4}, ROWS)) <= 8
    with pytest.raises(ConfigurationError, match="perhaps language"):
        made.chosen({"cap": 2, "per": "langage"}, ROWS)


@given(
    groups=st.lists(st.integers(0, 5), max_size=60), files=st.integers(1, 3), seed=st.integers(0, 9)
)
@settings(max_examples=30, deadline=None)
def test_places_in_groups(
    tmp_path_factory: pytest.TempPathFactory, groups: list[int], files: int, seed: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(grouping, "FILES", files)
        random = np.random.default_rng(seed)
        scores = random.integers(0, 3, len(groups)).astype(float)
        draws = random.random(len(groups))
        of = Groups(tmp_path_factory.mktemp("groups"))
        half = len(groups) // 2
        for some in (slice(0, half), slice(half, None)):
            of.add(np.array(groups, np.uint64)[some], scores[some], draws[some])
        ranks = of.ranks()
        firsts = np.full(len(groups), -1)
        others = of.put_firsts(firsts)
    for number, group in enumerate(groups):
        before = [
            other
            for other in range(len(groups))
            if groups[other] == group
            and (-scores[other], draws[other]) < (-scores[number], draws[number])
        ]
        assert ranks[number] == len(before)
        assert ranks[firsts[number]] == 0
        assert groups[firsts[number]] == group
    assert others == len(groups) - len(set(groups))


def test_soft_caps_repeat_the_best(made: Vectored) -> None:
    logits = np.linspace(0, 8, 40)
    keys = np.arange(40, dtype=np.uint64)
    times = drawn(logits, keys, total=400, batch=20, alpha=0.5, seed=0)
    assert times.sum() == 400
    assert times.max() <= 20
    assert times[20:].sum() > times[:20].sum() > 0
    # Without alpha every batch is alike; with much of it all are drawn as often.
    even = drawn(logits, keys, total=400, batch=20, alpha=1e6, seed=0)
    assert even.tolist() == [10] * 40
    only = drawn(logits * 1e6, keys, total=100, batch=10, alpha=0, seed=0)
    assert only.tolist() == [0] * 30 + [10] * 10
    shares = sum(drawn(np.log([1.0, 3.0]), np.arange(2, dtype=np.uint64), total=1, batch=1,
                       alpha=0, seed=s) for s in range(2000))  # fmt: skip
    assert abs(shares[1] / 2000 - 0.75) < 0.04
    definition = {"soft_cap": 100, "score": {"by": "original_width"}, "alpha": 5}
    chosen = made.chosen(definition, ROWS)
    assert len(chosen) == 100
    assert len(set(chosen)) < 100
    report = made.subset("mine").report
    assert report.figures["listed_uids"] == 100
    assert report.balances


def test_clusters_gather_what_is_near() -> None:
    middles = np.eye(12, dtype=np.float32)[:5]
    random = np.random.default_rng(0)
    truth = random.integers(0, 5, 500)
    rows = unit(middles[truth] + 0.1 * random.normal(size=(500, 12))).astype(np.float32)
    centroids = trained(rows, 5, seed=1)
    _, near = nearest(rows, centroids)
    assert np.allclose(near, (rows @ centroids.T).max(1), atol=1e-6)
    assert near.mean() > 0.8
    again = trained(rows, 5, seed=1)
    assert np.array_equal(centroids, again)
    assert len(trained(rows[:3], 5)) == 3
    assert len(trained(np.repeat(rows[:1], 9, axis=0), 5)) == 1
    assert len(trained(rows[:0], 5)) == 0


def test_typical_outlying_and_diverse(made: Vectored) -> None:
    one = {"clusters": 1}
    middle = unit(unit(IMAGES).sum(0, keepdims=True))[0]
    near = unit(IMAGES) @ middle
    assert made.chosen({"pick": "typical", "k": 7} | one, ROWS) == sorted(np.argsort(-near)[:7])
    assert made.chosen({"pick": "outlier", "k": 7} | one, ROWS) == sorted(np.argsort(near)[:7])
    chosen = made.chosen({"pick": "diverse", "k": 6, "clusters": 6}, ROWS)
    figures = made.subset("mine").report.figures
    assert figures["clusters"]["clusters"] == 6
    assert len(chosen) == 6
    # One of each cluster: none of them is among the others' near-copies.
    assert not {n % 50 for n in chosen if n >= 50} & {n for n in chosen if n < 10}


@given(
    complexities=st.lists(st.floats(0, 2), min_size=1, max_size=8),
    share=st.floats(0, 1),
    seed=st.integers(0, 99),
)
@settings(deadline=None)
def test_quotas_are_near_their_shares(complexities: list[float], share: float, seed: int) -> None:
    sizes = np.random.default_rng(seed).integers(0, 20, len(complexities))
    wanted = round(share * sizes.sum())
    allowed = quotas(np.array(complexities), sizes, wanted, 0.1)
    assert allowed.sum() == wanted
    assert (allowed <= sizes).all()
    if wanted >= np.count_nonzero(sizes):
        assert (allowed >= (sizes > 0)).all()
    # Nowhere would one more here and one less there be nearer to softmax's shares.
    weights = np.exp((np.array(complexities) - max(complexities)) / 0.1) * (sizes > 0)
    ideal = weights / weights.sum() * wanted if weights.sum() else weights
    least = (sizes > 0) * (wanted >= np.count_nonzero(sizes))
    more = np.where(allowed < sizes, 2 * (allowed - ideal) + 1, np.inf)
    fewer = np.where(allowed > least, -2 * (allowed - ideal) + 1, np.inf)
    assert more.min() + fewer.min() > -1e-3


def test_dense_clusters_are_thinned_out(made: Vectored) -> None:
    chosen = made.chosen({"density": 0.5, "clusters": 5}, ROWS)
    assert len(chosen) == ROWS // 2
    one = made.chosen({"density": 0.5, "clusters": 1}, ROWS)
    near = unit(IMAGES) @ unit(unit(IMAGES).sum(0, keepdims=True))[0]
    assert one == sorted(np.argsort(near)[:30].tolist())


def test_norm_sim_by_the_nearest_and_by_the_pool(made: Vectored, tmp_path: Path) -> None:
    targets = made_up(4, seed=8)[0]
    np.save(file := tmp_path / "targets.npy", targets.astype(np.float32))
    scores = (unit(IMAGES) @ unit(targets).T).max(1)
    definition = {"vectors": "normsim", "p": "inf", "targets": str(file), "k": 11}
    assert made.chosen(definition, ROWS) == sorted(np.argsort(-scores)[:11].tolist())
    stays, count = np.arange(ROWS), ROWS
    for number in range(1, 4):
        kept = unit(IMAGES[stays])
        count = round(ROWS * (15 / ROWS) ** (number / 3))
        scores = np.einsum("nd,de,ne->n", kept, kept.T @ kept, kept)
        stays = stays[np.argsort(-scores)[:count]]
    definition = {"vectors": "normsim_d", "rounds": 3, "fraction": 0.25}
    assert made.chosen(definition, ROWS) == sorted(stays.tolist())
    with pytest.raises(ConfigurationError, match="fraction or k"):
        made.chosen({"vectors": "normsim_d", "threshold": 0.2}, ROWS)


def spaced(text: str) -> str:
    """As MetaCLIP's authors put spaces."""
    text = f" {text} "
    for mark in ",.;:?!`":
        text = text.replace(mark, f" {mark} ")
    for space in "\t\n\r":
        text = text.replace(space, " ")
    return text


WORDS = st.lists(
    st.sampled_from(["a", "dog", "the", "dogs", ",", "é", "x.", " ", "\t", "dog,"]), max_size=8
)


@given(
    captions=st.lists(st.none() | WORDS.map(" ".join) | WORDS.map("".join), max_size=8),
    listed=st.lists(WORDS.map(" ".join).filter(str.strip), min_size=1, max_size=8, unique=True),
    longest=st.sampled_from([3, 40, 2**20]),
)
@settings(deadline=None)
def test_entries_are_found_as_substrings(
    captions: list[str | None], listed: list[str], longest: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("clip_assets.subsets.matching.LONGEST", longest)
        column = pa.chunked_array([pa.array(["skipped", *captions], pa.string()).slice(1)])
        matches = EntryList(listed).match(column)
    expected = [
        (number, entry)
        for number, caption in enumerate(captions)
        for entry, text in enumerate(listed)
        if caption is not None and f" {text} " in spaced(caption)
    ]
    assert list(zip(*map(np.ndarray.tolist, matches), strict=True)) == expected


def test_frequent_entries_are_thinned_out(made: Vectored, tmp_path: Path) -> None:
    listed = ["dog", "old car", "x , y", "red dog", "nothing"]
    (file := tmp_path / "entries.json").write_text(json.dumps(listed))
    has = np.array([[f" {text} " in spaced(caption) for text in listed] for caption in CAPTIONS])
    counts = has.sum(0)
    keeps = np.where(has, 10 / np.maximum(counts, 10), 0)
    stays = 1 - np.prod(1 - keeps, axis=1)
    draws = uniform(pairs(pa.chunked_array([[uid(n) for n in range(ROWS)]])), 5)
    expected = np.flatnonzero(draws < stays).tolist()
    definition = {"entries": str(file), "t": 10, "seed": 5}
    assert made.chosen(definition, ROWS) == expected
    assert 0 < len(expected) < np.count_nonzero(has.any(1))
    report = made.subset("mine").report
    assert report.dropped["no_entry"] == int((~has.any(1)).sum())
    assert report.figures[str(file)]["matches"] == int(counts.sum())
    assert at_tail(np.array([5, 1, 10, 84]), 0.06) == 5
    (file := tmp_path / "entries.txt").write_text("\n \n")
    with pytest.raises(SourceFormatError, match="no entry"):
        made.chosen(definition | {"entries": str(file)}, ROWS)
    folder = tmp_path / "dict"
    folder.mkdir()
    for name in entries.WORDNET:
        (folder / name).write_text("  1 licence\nold_car n 1 0\n" + f"{name[6:]} x\n")
    assert entries.read(str(folder)) == ["old car", "noun", "verb", "adj", "adv"]


def test_clusters_of_a_sample(made: Vectored, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clusters, "SAMPLED", 3)
    assert len(made.chosen({"pick": "diverse", "k": 4, "clusters": 4}, ROWS)) >= 4
