"""A url on its way through the fetcher, and how it ended."""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Generic, TypeVar

from yarl import URL

from clip_assets.download.fetch.faults import FetchError
from clip_assets.download.fetch.room import Held
from clip_assets.download.fetch.signals import Signals

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Fetched:
    """How one url ended.

    Args:
        body: the bytes, None when there is a fault.
        error_class: see ``faults``; None when there is a body.
        error_message: one line for people.
        http_status: of the last answer, None when no server answered.
        attempts: requests sent, those that followed redirects not counted.
        final_url: where redirects led.
        seconds: spent on requests, waiting for a turn not counted.
        fetched_at: when it ended, UTC.
        signals: what was said of the image's use.
        held: the room that the body has, see ``Fetcher.release``.
    """

    body: bytes | None
    error_class: str | None
    error_message: str | None
    http_status: int | None
    attempts: int
    final_url: str | None
    seconds: float
    fetched_at: datetime
    signals: Signals
    held: Held


@dataclass(slots=True)
class Job(Generic[T]):
    """A url on its way."""

    token: T
    was_silent: bool  # without an answer when an earlier run tried
    target: URL | None = None
    body: bytes | None = None
    fault: FetchError | None = None
    status: int | None = None
    attempts: int = 0
    redirects: int = 0
    seconds: float = 0.0
    paused_s: float = 0.0  # between attempts
    signals: Signals = field(default_factory=Signals)  # of this attempt
    held: Held = field(default_factory=Held)

    @property
    def line(self) -> str:
        """Name of the host's line that this job stands in; its ports are one machine."""
        return (self.target.raw_host or "") if self.target else ""

    @property
    def server(self) -> str:
        """Who answers or fails: a port of a host."""
        return f"{self.line}:{self.target.port}" if self.target else ""

    def result(self) -> Fetched:
        """How it ended."""
        return Fetched(
            body=self.body,
            error_class=self.fault.error_class if self.fault else None,
            error_message=self.fault.message if self.fault else None,
            http_status=self.status,
            attempts=self.attempts,
            final_url=str(self.target.with_user(None)) if self.target else None,
            seconds=self.seconds,
            fetched_at=datetime.now(UTC),
            signals=self.signals,
            held=self.held,
        )
