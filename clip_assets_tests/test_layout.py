"""Paths are arithmetic, and each belongs to one asset or to the store itself."""

import inspect
from collections.abc import Callable
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clip_assets import graph, layout
from clip_assets.layout import Artifact

VALUES: dict[str, object] = {
    "partition": layout.partition_key(7),
    "asset": "raw_pairs",
    "name": "n",
    "key": "k",
    "number": 3,
    "side": "image",
    "kind": "text",
    "version": "v",
    "slot": 3,
    "subset": "s",
}

OF_THE_STORE = {
    "lock", "plan", "adopted", "store_wide", "manifest", "failure", "work", "picture",
    "owners",  # in a work folder: of no asset until that is made
    "shard_folder", "tar_index_folder", "version_folder", "subset_shard_folder",
}  # fmt: skip
"""Paths that no asset publishes."""

NO_PATHS = {"partition_key", "shard_name", "made_by", "needs_rows", "artifact"}

ids = st.text("abcXYZ019_-", min_size=1, max_size=12)
any_values = st.fixed_dictionaries(
    {
        "partition": st.integers(0, 99_999).map(layout.partition_key),
        "number": st.integers(0, 10**8),
        "slot": st.integers(0, 10**9),
        "side": st.sampled_from(layout.SIDES),
        "kind": st.sampled_from(layout.SIDES),
        "version": ids,
        "subset": ids,
    }
)


def filled(function: Callable[..., str], values: dict[str, object]) -> str:
    """A path with those of the values that it takes."""
    return function(**{name: values[name] for name in inspect.signature(function).parameters})


@given(numbers=st.lists(st.integers(0, 99_999), unique=True))
def test_partition_keys_sort_like_numbers(numbers: list[int]) -> None:
    assert sorted(map(layout.partition_key, numbers)) == [
        layout.partition_key(number) for number in sorted(numbers)
    ]


def path_functions() -> dict[str, Callable[..., str]]:
    """Every function of the layout that gives a path, by its name."""
    return {
        name: found
        for name, found in vars(layout).items()
        if isinstance(found, Artifact)
        or (inspect.isfunction(found) and found.__module__ == layout.__name__)
        if name not in NO_PATHS
    }


def test_no_two_artifacts_share_a_path() -> None:
    paths = {name: filled(function, VALUES) for name, function in path_functions().items()}
    for (first, one), (second, other) in combinations(paths.items(), 2):
        assert one != other, f"{first} and {second}"
        assert not one.startswith("/")


def test_every_path_is_of_one_asset_or_of_the_store() -> None:
    functions = path_functions()
    of_assets = {name for name, found in functions.items() if isinstance(found, Artifact)}
    assert functions.keys() == of_assets | OF_THE_STORE
    assert not of_assets & OF_THE_STORE
    # Those of one package stand beside their stage.
    shared = [kind for kind in layout.ARTIFACTS if kind.__module__ == layout.__name__]
    assert [functions[name] for name in functions if name in of_assets] == shared
    assert {kind.made_by for kind in layout.ARTIFACTS} == set(graph.ASSETS)


@given(values=any_values)
def test_an_artifact_holds_its_own_paths_and_no_others(values: dict[str, object]) -> None:
    for kind in layout.ARTIFACTS:
        path = filled(kind, values)
        assert [other for other in layout.ARTIFACTS if other.holds(path)] == [kind]
        assert layout.made_by(path) == kind.made_by


@given(values=any_values, around=ids)
def test_a_path_is_held_whole(values: dict[str, object], around: str) -> None:
    for kind in layout.ARTIFACTS:
        path = filled(kind, values)
        assert not kind.holds(f"{around}/{path}")
        assert not kind.holds(f"{path}{around}")
        assert not kind.holds(path.replace(".", "x"))


@pytest.mark.parametrize("kind", layout.ARTIFACTS, ids=lambda kind: kind.name)
def test_a_value_is_one_part_of_a_path(kind: Artifact[...]) -> None:
    for name in inspect.signature(kind).parameters:
        if isinstance(VALUES[name], str):
            assert kind.holds(filled(kind, VALUES | {name: "a"}))
            assert not kind.holds(filled(kind, VALUES | {name: "a/b"}))


@given(values=any_values)
def test_what_the_store_keeps_for_itself_is_no_artifact(values: dict[str, object]) -> None:
    more = VALUES | values
    own = [filled(path_functions()[name], more) for name in OF_THE_STORE]
    for path in [*own, layout.STORE, layout.MODEL, layout.SETTINGS_FILE, layout.CURRENT]:
        assert layout.made_by(path) == "", path


@pytest.mark.parametrize(
    ("kind", "template"),
    [
        (layout.raw, "raw/<partition>.parquet"),
        (layout.shard_stats, "shards/<partition>/<number>_stats.json"),
        (layout.img_emb, "embeddings/img_emb/img_emb_<partition>.npy"),
        (layout.subset, "subsets/<subset>.npy"),
        (layout.stats, "stats/stats.json"),
        (layout.segment, "segments/<side>/<partition>.index"),
        (layout.index_rows, "index/<version>/metadata/metadata_<slot>.parquet"),
    ],
    ids=lambda value: value.template if isinstance(value, Artifact) else "",
)
def test_a_template_names_what_a_path_is_made_of(kind: Artifact[...], template: str) -> None:
    assert kind.template == template


def test_every_template_has_every_value_once() -> None:
    for kind in layout.ARTIFACTS:
        names = inspect.signature(kind).parameters
        assert [kind.template.count(f"<{name}>") for name in names] == [1] * len(names)
        assert kind.__doc__


def test_what_is_made_once_has_no_key_in_its_paths() -> None:
    name, key = layout.METADATA_STATS, layout.WHOLE
    assert layout.manifest(name, key) == layout.manifest(name) == "manifests/metadata_stats.json"
    assert layout.failure(name, key) == "failures/metadata_stats.json"
    assert layout.work(name, key) == "work/metadata_stats"
    assert layout.picture(name, key, "a.png") == "pictures/metadata_stats/a.png"
