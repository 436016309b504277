"""Headers by which site owners refuse the use of an image."""

import pytest

from clip_assets.download.fetch.policy import refuses_use


@pytest.mark.parametrize(
    "value",
    [
        "none",
        "noai, max-image-preview:large",
        "max-image-preview:large, noai",
        "noindex, follow, max-snippet:-1, max-image-preview:large",
        "noindex; nofollow",
        "noindex nofollow",
        "noai: yes",
        "*: noai",
        "robots: noindex",
        "otherbot: nofollow, clip_assets: noai",
        "CLIP_Assets: max-snippet: 3, noai",
        "noindex, unavailable_after: 25 Jun 2999 15:00:00 GMT",
        "unavailable_after: 25 Jun 2999 15:00:00 GMT, noai",
        "unavailable_after: Friday, 25 Jun 2021 15:00:00 GMT",
        "follow, unavailable_after: 25-Jun-21 15:00:00 GMT, max-snippet:-1",
        "clip_assets: unavailable_after: 2021-06-25",
        "unavailable_after: 2021-06-25T15:00:00+00:00",
    ],
)
def test_directives_refuse_beside_values_and_other_robots(value: str) -> None:
    assert refuses_use([value])
    assert refuses_use(["otherbot: all", value])


@pytest.mark.parametrize(
    "value",
    [
        "",
        " : ,:",
        "all, max-snippet:-1, max-image-preview:large",
        "otherbot: all, noai",
        "otherbot: max-snippet: 3, noai",
        "clip_assets: all, otherbot: noai",
        "otherbot: unavailable_after: 2021-06-25",
        "unavailable_after: Fri, 25 Jun 2999 15:00:00 GMT",
        "unavailable_after: 2999-06-25",
        "unavailable_after: soon",
        "unavailable_after:",
    ],
)
def test_directives_for_others_and_for_later_refuse_nothing(value: str) -> None:
    assert not refuses_use([value])
