"""Tells a broken network of this machine from urls that are dead."""

from collections import Counter
from datetime import UTC, datetime

from clip_assets.download.fetch.faults import LOCAL, FetchError
from clip_assets.errors import DownloadError

UNANSWERED_LIMIT = 200
"""So many urls in a row without an answer from any server are this machine's fault."""

UNANSWERED_HOSTS = 20
"""Hosts that these urls must be spread over."""

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
    """

    def __init__(self) -> None:
        self.last_answer = datetime.now(UTC)
        self._unanswered: Counter[str] = Counter()
        self._hosts: set[str] = set()

    def answered(self) -> None:
        """Take note that a server answered."""
        self.last_answer = datetime.now(UTC)
        self._unanswered.clear()
        self._hosts.clear()

    def unanswered(self, host: str, fault: FetchError) -> None:
        """Take note of a first attempt without an answer.

        Raises:
            DownloadError: for long nothing has come from anywhere.
        """
        if fault.error_class not in LOCAL:
            return
        self._unanswered[fault.error_class] += 1
        self._hosts.add(host)
        if self._unanswered.total() < UNANSWERED_LIMIT or len(self._hosts) < UNANSWERED_HOSTS:
            return
        [(error_class, count)] = self._unanswered.most_common(1)
        raise DownloadError(
            "the network of this machine",
            f"{self._unanswered.total()} urls on {len(self._hosts)} hosts in a row without any "
            f"answer ({error_class}: {count}, last: {fault.message})",
            "an answer now and then",
            ADVICE[error_class]
            + " Then run the same again: what came is kept, what failed meanwhile is asked again.",
        )
