"""The kinds of urls of the demo world."""

from clip_assets.demo.misbehaviour import BY_NAME, DEAD_HOST, MISBEHAVIOURS, delivers


def test_names_are_unique() -> None:
    assert len(BY_NAME) == len(MISBEHAVIOURS) + 1


def test_most_urls_of_a_world_are_good() -> None:
    assert 0.05 < sum(kind.share for kind in BY_NAME.values()) < 0.2


def test_a_good_url_delivers_and_a_dead_host_does_not() -> None:
    assert delivers("images")
    assert not delivers(DEAD_HOST.name)
