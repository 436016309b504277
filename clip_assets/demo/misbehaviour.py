"""The ways in which a web server disappoints, and how many urls of a demo world meet each.

``demo.server`` behaves like this under the path of the same name, ``demo.world`` writes such urls.
"""

from dataclasses import dataclass

GOOD = "images"


@dataclass(frozen=True, slots=True)
class Misbehaviour:
    """One kind of answer.

    Args:
        name: first part of the url's path.
        share: of the unique pairs of a world.
        answer: what the server does.
        delivers: whether a patient and polite client gets an image.
    """

    name: str
    share: float
    answer: str
    delivers: bool = False


MISBEHAVIOURS = (
    Misbehaviour("missing", 0.025, "404"),
    Misbehaviour("gone", 0.005, "410"),
    Misbehaviour("forbidden", 0.010, "403"),
    Misbehaviour("500", 0.007, "500, always"),
    Misbehaviour("429", 0.005, "429 with Retry-After: 1 once, then the image", delivers=True),
    Misbehaviour("redirect", 0.020, "302 to the image", delivers=True),
    Misbehaviour("redirect-loop", 0.005, "302 to itself"),
    Misbehaviour("wrong-type", 0.010, "the image, called text/html", delivers=True),
    Misbehaviour("text-type", 0.005, "the image, called text/plain", delivers=True),
    Misbehaviour("html", 0.010, "a web page, called image/jpeg"),
    Misbehaviour("noai", 0.010, "the image with X-Robots-Tag: noai, so not for us"),
    Misbehaviour("empty", 0.005, "200 without a byte"),
    Misbehaviour("truncated", 0.007, "half of the promised bytes, then the end"),
    Misbehaviour("reset", 0.005, "a connection reset"),
    Misbehaviour("slow", 0.002, "two bytes a second"),
    Misbehaviour("huge", 0.002, "gigabytes"),
)

DEAD_HOST = Misbehaviour("dead-host", 0.008, "no such host")
"""Not an answer of the server: a host name that cannot exist (RFC 2606)."""

BY_NAME = {kind.name: kind for kind in (*MISBEHAVIOURS, DEAD_HOST)}


def delivers(kind: str) -> bool:
    """Whether a url of ``kind`` ("images" or a misbehaviour's name) ends in an image."""
    return kind == GOOD or BY_NAME[kind].delivers
