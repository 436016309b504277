"""What sites and headers say of an image's use is recorded, and may refuse the image."""

from datetime import UTC, datetime
from typing import Any

import pytest

from clip_assets.download.fetch.jobs import Fetched
from clip_assets.settings import DownloadSettings
from clip_assets_tests.download.fetching import fetch
from clip_assets_tests.download.web import RawWeb, Web


@pytest.fixture
def deaf(settings: DownloadSettings) -> DownloadSettings:
    """Nothing refuses an image."""
    return settings.model_copy(update={"respect_noai": False, "respect_opt_outs": []})


@pytest.fixture
def curious(deaf: DownloadSettings) -> DownloadSettings:
    """Nothing refuses an image, and sites are asked."""
    return deaf.model_copy(update={"ask_sites": True, "retries": 0})


def record(fetched: Fetched) -> dict[str, Any]:
    """What was recorded, without what is null."""
    columns = fetched.signals.as_columns()
    return {name: value for name, value in columns.items() if value is not None}


@pytest.mark.parametrize(
    ("header", "value", "column", "reserves"),
    [
        ("X_Robots_Tag", "noai, noimageai", "x_robots_tag", True),
        ("X_Robots_Tag", "otherbot: noai", "x_robots_tag", False),
        ("Content_Usage", "train-ai=n, search=y", "content_usage", True),
        ("Content_Usage", "train-ai=y", "content_usage", False),
        ("Content_Usage", 'train-ai="n"', "content_usage", False),
        ("Content_Usage", "train-ai=y, train-ai=n", "content_usage", True),
        ("Content_Usage", "search=n", "content_usage", False),
        ("Content_Usage", "((((", "content_usage", False),
        ("tdm_reservation", "1", "tdm_reservation", True),
        ("tdm_reservation", "0", "tdm_reservation", False),
        ("tdm_reservation", "yes", "tdm_reservation", False),
    ],
)
def test_what_headers_say_is_recorded_whether_it_refuses_or_not(
    site: Web,
    settings: DownloadSettings,
    deaf: DownloadSettings,
    header: str,
    value: str,
    column: str,
    reserves: bool,
) -> None:
    url = site.serve("/a", b"x", **{header: value})
    [heard] = fetch([url], deaf)
    [obeyed] = fetch([url], settings)

    assert heard.body == b"x"
    assert record(heard) == record(obeyed) == {column: value, "opt_outs": [column] * reserves}
    error_class = "policy_noai" if column == "x_robots_tag" else f"policy_{column}"
    assert obeyed.error_class == (error_class if reserves else None)


def test_a_policy_stands_behind_its_reservation(site: Web, deaf: DownloadSettings) -> None:
    policy = "https://site.org/policy.json"
    [found] = fetch([site.serve("/a", b"x", tdm_reservation="1", tdm_policy=policy)], deaf)
    assert record(found)["tdm_reservation"] == f"1 {policy}"


def test_silence_is_recorded_where_an_image_came_alone(site: Web, deaf: DownloadSettings) -> None:
    ok, gone = fetch([site.serve("/a", b"x"), site.url("/none", "127.0.0.1")], deaf)
    assert record(ok) == {"opt_outs": []}
    assert record(gone) == {}


def test_nobody_asks_sites_unless_told_to(site: Web, settings: DownloadSettings) -> None:
    fetch([site.serve("/a", b"x")], settings)
    assert dict(site.requests) == {"/a": 1}


def test_sites_are_asked_once_and_what_they_say_is_recorded(
    site: Web, curious: DownloadSettings
) -> None:
    start = datetime.now(UTC)
    site.serve("/robots.txt", b"User-agent: *\nDisallow: /private/*.jpg$\nDisallow: /private")
    site.serve("/.well-known/tdmrep.json", b'[{"location": "/b", "tdm-reservation": 1}]')
    paths = ["/a", "/b", "/private/c.jpg", "/private/d"]
    found = fetch([site.serve(path, b"x") for path in paths], curious)

    assert [one.body for one in found] == [b"x"] * 4
    told = [record(one) for one in found]
    assert all(start <= one.pop("site_asked_at") <= datetime.now(UTC) for one in told)
    assert told == [
        {"robots": "allow", "tdmrep_json": "unset", "opt_outs": []},
        {"robots": "allow", "tdmrep_json": "1", "opt_outs": ["tdmrep_json"]},
        {"robots": "disallow: /private/*.jpg$", "tdmrep_json": "unset", "opt_outs": ["robots"]},
        {"robots": "disallow: /private", "tdmrep_json": "unset", "opt_outs": ["robots"]},
    ]
    assert (site.requests["/robots.txt"], site.requests["/.well-known/tdmrep.json"]) == (1, 1)


def test_a_refusal_by_robots_txt_stands_in_the_record(
    site: Web, settings: DownloadSettings
) -> None:
    site.serve("/robots.txt", b"User-agent: *\nDisallow: /\n")
    obedient = settings.model_copy(update={"respect_robots": True})
    [found] = fetch([site.serve("/a", b"x")], obedient)

    told = record(found)
    assert found.error_class == "policy_robots"
    assert (told["robots"], told["opt_outs"]) == ("disallow: /", ["robots"])


@pytest.mark.parametrize(
    ("rules", "usages"),
    [
        ("User-agent: *\nContent-Usage: train-ai=n", {"/a": "train-ai=n"}),
        ("user-agent: *\nContent-Usage: /b train-ai=n # no\n", {"/a": None, "/b/c": "train-ai=n"}),
        (
            "User-agent: *\nContent-Usage: train-ai=n\nContent-Usage: /ok/\ttrain-ai=y",
            {"/a": "train-ai=n", "/ok/a": "train-ai=y"},
        ),
        (
            "User-agent: *\nContent-Usage: train-ai=n\n\nUser-agent: clip_assets\nAllow: /",
            {"/a": None},
        ),
        (
            "User-agent: x\nUser-agent: clip_assets\nContent-Usage: train-ai=n\nUser-agent: *\n",
            {"/a": "train-ai=n"},
        ),
        ("User-agent: other\nContent-Usage: train-ai=n\nUser-agent: *\nAllow: /", {"/a": None}),
        (
            "User-agent: *\nContent-Usage: /a train-ai=y\nContent-Usage: /a train-ai=n",
            {"/a": "train-ai=y | train-ai=n"},
        ),
        ("User-agent: *\nContent-Usage: /*.jpg$ train-ai=n", {"/a": None, "/a.jpg": "train-ai=n"}),
        ("Content-Usage: train-ai=n", {"/a": None}),
        ("User-agent: *\nContent-Usage: /a\nContent-Usage: /\n", {"/a": ""}),
    ],
    ids=[
        "all",
        "path",
        "longest",
        "ours",
        "shared",
        "other",
        "equal",
        "wildcard",
        "no group",
        "no value",
    ],
)
def test_content_usage_of_robots_txt_is_that_of_the_longest_path(
    site: Web, curious: DownloadSettings, rules: str, usages: dict[str, str | None]
) -> None:
    site.serve("/robots.txt", rules.encode())
    found = fetch([site.serve(path, b"x") for path in usages], curious)

    told = [record(one) for one in found]
    assert [one.get("robots_content_usage") for one in told] == [*usages.values()]
    reserved = ["train-ai=n" in (usage or "") for usage in usages.values()]
    assert ["robots_content_usage" in one["opt_outs"] for one in told] == reserved


@pytest.mark.parametrize(
    ("rules", "told"),
    [
        (
            b'[{"location": "/a/", "tdm-reservation": 0}, {"location": "/", "tdm-reservation": 1}]',
            "0",
        ),
        (
            b'[{"location": "/", "tdm-reservation": 1}, {"location": "/a/", "tdm-reservation": 0}]',
            "1",
        ),
        (b'[{"location": "/a/*.jpg$", "tdm-reservation": "1", "tdm-policy": "p"}]', "1 p"),
        (b'[{"location": "/b", "tdm-reservation": 1}]', "unset"),
        (b'[{"location": "/", "tdm-reservation": 2}, 7, {"location": 3}, {}]', "unset"),
        (b'{"location": "/", "tdm-reservation": 1}', "unset"),
        (b"\xff\0 no json", "unset"),
        (b"[" * 400_000, "unset"),
        (
            b'[{"location": "/", "tdm-reservation": 1, "tdm-policy": %s}]'
            % (b"[" * 900 + b"]" * 900),
            "1",
        ),
        (b'[{"location": "\\ud800\\n", "tdm-reservation": 1}]', "unset"),
        (b"[" + b'{"location": "/*b", "tdm-reservation": 1},' * 11_000 + b"7]", "unset"),
        (b'[{"location": "/", "tdm-reservation": 1}]' + b" " * 120_000_000 + b"!", "1"),
    ],
    ids=[
        "first",
        "as listed",
        "wildcard",
        "other",
        "odd",
        "no list",
        "no json",
        "deep",
        "deep policy",
        "surrogates",
        "many",
        "cut",
    ],
)
def test_tdmrep_json_counts_by_its_first_rule_that_matches(
    site: Web, curious: DownloadSettings, rules: bytes, told: str
) -> None:
    site.serve("/.well-known/tdmrep.json", rules)
    [found] = fetch([site.serve("/a/x.jpg", b"x")], curious)
    assert record(found)["tdmrep_json"] == told


@pytest.mark.parametrize(
    "answer",
    [
        {"status": 503},
        {"status": 302, "Location": "http://10.0.0.1/tdmrep.json"},
        {"status": 302, "Location": "file:///etc/passwd"},
    ],
    ids=["503", "private", "file"],
)
def test_a_site_that_does_not_answer_costs_no_image(
    site: Web, curious: DownloadSettings, answer: dict[str, Any]
) -> None:
    site.serve("/.well-known/tdmrep.json", **answer)
    site.serve("/robots.txt", **answer)
    [found] = fetch([site.serve("/a", b"x")], curious)

    told = record(found)
    assert found.body == b"x"
    assert (told["tdmrep_json"], told["robots"]) == ("unanswered", "unanswered")
    assert told["site_asked_at"] <= datetime.now(UTC)


def test_files_of_a_site_that_never_end_cost_no_image(
    raw: RawWeb, curious: DownloadSettings
) -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 99999\r\n\r\n"
    for path in ("/robots.txt", "/.well-known/tdmrep.json"):
        raw.script(path, head, *[b" ", 0.1] * 3000)
    url = raw.script("/a", b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx")
    [found] = fetch([url], curious.model_copy(update={"deadline_s": 8}))

    assert found.body == b"x"
    assert (record(found)["robots"], record(found)["tdmrep_json"]) == ("unanswered", "unanswered")


def test_a_header_counts_before_the_file_of_its_site(site: Web, settings: DownloadSettings) -> None:
    site.serve("/.well-known/tdmrep.json", b'[{"location": "/", "tdm-reservation": 1}]')
    urls = [site.serve("/a", b"x", tdm_reservation="0"), site.serve("/b", b"x")]
    asking = settings.model_copy(update={"ask_sites": True})
    free, reserved = fetch(urls, asking)

    assert (record(free)["tdmrep_json"], record(free)["opt_outs"]) == ("1", [])
    assert reserved.error_class == "policy_tdmrep_json"


def test_what_any_site_on_the_way_reserves_stays(site: Web, curious: DownloadSettings) -> None:
    async def robots(request: Any) -> Any:
        from aiohttp import web

        closed = request.host.startswith("127.0.0.1")
        return web.Response(text=f"User-agent: *\nDisallow: {'/' if closed else ''}")

    site.pages["/robots.txt"] = robots
    site.serve("/b", b"x")
    site.serve("/a", status=302, Location=site.url("/b", "127.0.1.1"))
    [found] = fetch([site.url("/a")], curious)

    assert found.body == b"x"
    assert (record(found)["robots"], record(found)["opt_outs"]) == ("disallow: /", ["robots"])


def test_values_of_strangers_are_short_printable_lines(site: Web, deaf: DownloadSettings) -> None:
    [found] = fetch([site.serve("/a", b"x", X_Robots_Tag="a\tb\x9b" + "c" * 9000 + ", noai")], deaf)
    told = record(found)
    assert told["x_robots_tag"].startswith("a b ccc")
    assert len(told["x_robots_tag"]) == 500
    assert told["opt_outs"] == ["x_robots_tag"]


def test_an_endless_content_usage_takes_no_time_of_others(
    site: Web, deaf: DownloadSettings
) -> None:
    [found] = fetch([site.serve("/a", b"x", Content_Usage="a=1, " * 9000 + "train-ai=n")], deaf)
    assert record(found)["opt_outs"] == []
