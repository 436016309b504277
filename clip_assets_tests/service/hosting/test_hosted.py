"""Versions change under a running service, and it says what it serves."""

import shutil
import threading
import time
from collections import Counter
from pathlib import Path

import httpx
import numpy as np
import pytest

from clip_assets import layout
from clip_assets.encoders.encoder import Encoder
from clip_assets.errors import ConfigurationError, MissingArtifactError
from clip_assets.index import versions
from clip_assets.service.hosting import hosted as hosted_module
from clip_assets.service.hosting.hosted import HostedIndex, Hosting
from clip_assets_tests.retrieval.conftest import WordEncoder
from clip_assets_tests.service.conftest import error, pool_of_animals, search, serving, uid_of


def test_a_query_keeps_the_version_that_it_began_with(tmp_path: Path) -> None:
    made = pool_of_animals(tmp_path)
    hosted = HostedIndex("animals", made.pool)
    first = hosted.version
    with hosted.opened() as before:
        made.add(2, ["ant"])
        second = made.index()
        hosted.follow()
        assert hosted.version == second
        with hosted.opened() as after:
            assert (after.searcher.version.vectors, before.searcher.version.vectors) == (6, 5)
        # Still open, though it was replaced.
        assert len(before.searcher.search(np.ones(24), k=9)) == 5
    versions.use(made.store, first)
    hosted.follow()
    assert hosted.version == first
    hosted.close()


def test_a_damaged_version_changes_nothing_but_is_told(tmp_path: Path) -> None:
    made = pool_of_animals(tmp_path)
    hosted = HostedIndex("animals", made.pool)
    named = made.store.read_bytes(layout.CURRENT)
    made.store.write_bytes(layout.CURRENT, b"00009-none\n")
    hosted.follow()
    assert "00009-none" in str(hosted.problem)
    with hosted.opened() as opened:
        assert len(opened.searcher.search(np.ones(24), k=1)) == 1
    made.store.write_bytes(layout.CURRENT, named)
    hosted.follow()
    assert hosted.problem is None
    hosted.close()


def test_a_store_that_fails_for_a_while_is_followed_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hosted_module, "FOLLOW_S", 0.05)
    made = pool_of_animals(tmp_path)
    with serving(Hosting([HostedIndex("animals", made.pool)])) as served:
        current = tmp_path / layout.CURRENT
        current.unlink()
        current.symlink_to(current)  # what the system then says is no error of ours
        index = served.hosting.get("animals")
        while "symbolic links" not in str(index.problem):
            time.sleep(0.01)
        current.unlink()
        made.add(2, ["ant"])
        later = made.index()
        while index.version != later:
            time.sleep(0.01)
        assert served.http.get("/ready").json()["indices"][0]["problem"] is None


def test_a_model_that_fails_oddly_keeps_no_other_index_from_its_own(tmp_path: Path) -> None:
    def odd() -> Encoder:
        raise RuntimeError("odd")

    made = pool_of_animals(tmp_path)
    first = HostedIndex("first", made.served_by(odd).pool)
    second = HostedIndex("second", made.served_by(WordEncoder).pool)
    with serving(Hosting([first, second])) as served:
        assert search(served, {"text": "cat"}, index="second")["results"]
        states = [one["model"] for one in served.http.get("/ready").json()["indices"]]
        assert states == ["failed", "loaded"]


def test_a_pool_that_is_deleted_is_searched_on_and_its_pictures_are_told_to_be_gone(
    tmp_path: Path,
) -> None:
    made = pool_of_animals(tmp_path / "pool")
    with serving(Hosting([HostedIndex("animals", made.pool)])) as served:
        shutil.rmtree(tmp_path / "pool")
        served.hosting.get("animals").follow()
        assert search(served, {"text": "cat"})["results"][0]["caption"] == "cat"
        error(served.http.get(f"/v1/images/{uid_of('cat')}"), 503)
        assert "CURRENT" in served.http.get("/ready").json()["indices"][0]["problem"]


def test_pools_are_called_by_their_folders_or_as_told(tmp_path: Path) -> None:
    pool_of_animals(tmp_path / "a" / "pool")
    pool_of_animals(tmp_path / "b" / "pool")
    first, second = str(tmp_path / "a" / "pool"), str(tmp_path / "b" / "pool")
    hosting = Hosting.of([first, f"other={second}"])
    assert list(hosting.indices) == ["pool", "other"]
    assert hosting.get("").name == hosting.get(None).name == "pool"
    with pytest.raises(ConfigurationError, match="two called 'pool'"):
        Hosting.of([first, second])


def test_a_pool_without_an_index_is_refused(tmp_path: Path) -> None:
    made = pool_of_animals(tmp_path)
    made.store.delete(layout.CURRENT)
    with pytest.raises(MissingArtifactError, match="a served version"):
        HostedIndex("animals", made.pool)


@pytest.mark.slow
def test_versions_change_under_load_without_a_failed_query(tmp_path: Path) -> None:
    made = pool_of_animals(tmp_path)
    first = made.index()
    made.add(2, ["ant", "bee"])
    second = made.index()
    hosting = Hosting([HostedIndex("animals", made.pool)])
    ends = threading.Event()
    statuses: Counter[int] = Counter()
    seen: set[str] = set()

    def ask(url: str) -> None:
        with httpx.Client(base_url=url, timeout=60) as http:
            while not ends.is_set():
                answer = http.post("/v1/search", json={"terms": [{"text": "cat"}], "k": 3})
                statuses[answer.status_code] += 1
                seen.add(answer.json()["version"])

    with serving(hosting) as served:
        threads = [threading.Thread(target=ask, args=(served.url,)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for name in [first, second] * 5:
            versions.use(made.store, name)
            hosting.get(None).follow()
            before = statuses.total()
            while statuses.total() < before + 8:
                time.sleep(0.01)
        # A version that is gone while it is served: what is open stays readable.
        made.store.delete(layout.version_folder(second))
        before = statuses.total()
        while statuses.total() < before + 8:
            time.sleep(0.01)
        ends.set()
        for thread in threads:
            thread.join()
        assert hosting.get(None).version == second
    assert set(statuses) == {200}
    assert seen == {first, second}
