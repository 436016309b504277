"""Tells a broken network of this machine from urls that are dead."""

from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager
from datetime import UTC, datetime

from clip_assets.download.fetch.faults import LOCAL, FetchError
from clip_assets.errors import DownloadError

UNANSWERED_LIMIT = 200
"""So many urls in a row without an answer from any server are this machine's fault."""

UNANSWERED_HOSTS = 20
"""Hosts that these urls must be spread over, where nothing else is known of them."""

ANSWERING_HOSTS_KEPT = 10_000
"""Hosts that are remembered to have answered; the oldest are forgotten first."""

ADVICE = {
    "dns": "No host name resolves: check /etc/resolv.conf, for example with getent hosts.",
    "dns_unanswered": "The resolver does not answer: check /etc/resolv.conf and the load on it; "
    "a local caching resolver takes thousands of names a second.",
    "refused": "Every connection is refused: check the firewall, and whether the network is only "
    "reachable through a proxy, which is not used.",
    "unreachable": "No route to any host: check that this machine is online.",
    "timeout": "Nothing answers in time: check the firewall and the bandwidth, or lower "
    "download.concurrency.",
    "tls": "No certificate is accepted: check the clock and the installed certificate "
    "authorities (ca-certificates), and whether a proxy replaces certificates.",
}
"""What to do about each local fault."""


class NetworkWatch:
    """Counts what was asked in vain since the last answer.

    Only first attempts are for it to see. Second ones come together, after all the first
    attempts of their shards, and that a dead url is still dead says nothing about this machine.

    Args:
        judges_few: whether fewer than ``UNANSWERED_HOSTS`` hosts can be a sign: when no server
            has answered at all, or one that is silent now has answered before. It may be the hosts
            that are gone, so this stops a partition once.
    """

    def __init__(self, *, judges_few: bool = True) -> None:
        self.last_answer = datetime.now(UTC)
        self._judges_few = judges_few
        self._asked: Counter[str] = Counter()  # by host: requests under way
        self._answering: dict[str, None] = {}  # hosts that have answered
        # Since the last answer:
        self._unanswered: Counter[str] = Counter()
        self._silent: dict[str, FetchError] = {}  # by host: its last fault

    @contextmanager
    def asking(self, host: str) -> Generator[None]:
        """While a host is asked."""
        self._asked[host] += 1
        try:
            yield
        finally:
            self._asked[host] -= 1
            if not self._asked[host]:
                del self._asked[host]

    def answered(self, host: str) -> None:
        """Take note that a server answered."""
        self.last_answer = datetime.now(UTC)
        self._unanswered.clear()
        self._silent.clear()
        if host not in self._answering:
            if len(self._answering) >= ANSWERING_HOSTS_KEPT:
                del self._answering[next(iter(self._answering))]
            self._answering[host] = None

    def not_asked(self, host: str) -> None:
        """Take note of a url that was given up unasked because its host had failed.

        Raises:
            DownloadError: for long nothing has come from anywhere.
        """
        if host in self._silent:
            self.unanswered(host, self._silent[host])

    def unanswered(self, host: str, fault: FetchError) -> None:
        """Take note of a first attempt without an answer.

        Raises:
            DownloadError: for long nothing has come from anywhere.
        """
        if fault.error_class not in LOCAL:
            return
        self._unanswered[fault.error_class] += 1
        self._silent[host] = fault
        if self._unanswered.total() < UNANSWERED_LIMIT or not self._is_telling():
            return
        [(error_class, count)] = self._unanswered.most_common(1)
        raise DownloadError(
            "the network of this machine",
            f"{self._unanswered.total()} urls on {len(self._silent)} hosts in a row without any "
            f"answer ({error_class}: {count}, last: {fault.message})",
            "an answer now and then",
            ADVICE[error_class]
            + " Then run the same again: what came is kept, what failed meanwhile is asked again.",
        )

    def _is_telling(self) -> bool:
        """Whether the silent hosts are enough to tell this machine's fault from theirs."""
        if len(self._silent) >= UNANSWERED_HOSTS:
            return True
        if not self._judges_few or self._asked.keys() - self._silent.keys():
            return False
        return not self._answering or bool(self._answering.keys() & self._silent.keys())
