"""Why urls gave no image is told in words, with what helps."""

import pytest

from clip_assets import layout, status
from clip_assets.download import reasons
from clip_assets.download.fetch.faults import LOCAL, MAY_PASS, TRANSIENT
from clip_assets.download.fetch.signals import REFUSALS
from clip_assets.download.image_shards import image_shards
from clip_assets.download.reasons import most_frequent
from clip_assets.settings import DownloadSettings
from clip_assets_tests.download.pairs import P, encode, unique_pairs
from clip_assets_tests.download.web import Web
from clip_assets_tests.upstream import MadeUp


def test_the_three_most_frequent_reasons_have_an_example_and_advice(
    site: Web, made: MadeUp
) -> None:
    made.set(download={"retries": 0})
    statuses = [404] * 4 + [503] * 3 + [403] * 2 + [410]
    urls = [site.serve(f"/{n}.jpg", status=status) for n, status in enumerate(statuses)]
    unique_pairs(made, [*urls, site.serve("/ok.jpg", encode())])
    image_shards(made.pool, P)

    found = most_frequent(made.pool, made.pool.partitions)

    assert [(reason.error_class, reason.urls, reason.example) for reason in found] == [
        ("http_404", 4, urls[0]),
        ("http_503", 3, urls[4]),
        ("http_403", 2, urls[7]),
    ]
    assert "--retry-failed" in found[1].as_text()
    assert urls[4] in found[1].as_text()


def test_private_addresses_name_the_setting_that_allows_them(site: Web, made: MadeUp) -> None:
    made.set(download={"allow_hosts": []})
    unique_pairs(made, [site.serve("/1.jpg", encode())])
    image_shards(made.pool, P)
    (reason,) = most_frequent(made.pool, [P])
    assert "download.allow_hosts" in reason.advice


def test_rows_that_are_gone_cost_the_example_alone(site: Web, made: MadeUp) -> None:
    unique_pairs(made, [site.serve("/1.jpg", status=404)])
    image_shards(made.pool, P)
    made.store.delete(layout.shard_rows(P, 0))
    (reason,) = most_frequent(made.pool, [P])
    assert (reason.urls, reason.example) == (1, None)


def test_a_partition_without_shards_has_no_reasons(made: MadeUp) -> None:
    assert most_frequent(made.pool, made.plan(0)) == []


@pytest.mark.parametrize(
    "error_class", sorted(TRANSIENT | LOCAL | REFUSALS | {"http_451", "new_class"})
)
def test_every_class_is_told_in_words(error_class: str) -> None:
    meaning, advice = reasons.words(error_class)
    assert meaning != error_class
    assert error_class not in TRANSIENT or "--retry-failed" in advice


def test_what_is_advised_to_be_fetched_again_is() -> None:
    again = {name for name, (_, advice) in reasons.WORDS.items() if reasons.AGAIN in advice}
    assert again <= MAY_PASS.keys() | REFUSALS


def test_what_owners_keep_from_us_is_counted_by_class(site: Web, made: MadeUp) -> None:
    made.set(download={"retries": 0})
    tags = [{"X_Robots_Tag": "noai"}, {"tdm_reservation": "1"}, {"tdm_reservation": "1"}, {}]
    urls = [site.serve(f"/{n}.jpg", encode(), **tag) for n, tag in enumerate(tags)]
    unique_pairs(made, [*urls, site.url("/none.jpg")])
    image_shards(made.pool, P)

    kept = {"policy_tdm_reservation": 2, "policy_noai": 1}
    assert reasons.kept_by_owners(made.pool, [P]) == kept
    told = status.report(made.pool)
    assert told["kept_by_owners"] == kept
    line = "opt-outs: 3 urls were refused for them (policy_tdm_reservation 2, policy_noai 1)"
    assert line in status.as_text(told).splitlines()


def test_settings_that_are_named_exist() -> None:
    told = " ".join(" ".join(pair) for pair in reasons.WORDS.values()).replace(",", " ").split()
    named = {word.strip(".:;").removeprefix("download.") for word in told if "download." in word}
    assert named
    assert named <= set(DownloadSettings.model_fields)
