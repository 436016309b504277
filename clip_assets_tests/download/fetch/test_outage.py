"""When silence is this machine's fault, and when that of the hosts."""

import pytest

from clip_assets.download.fetch.faults import FetchError
from clip_assets.download.fetch.outage import UNANSWERED_LIMIT, NetworkWatch
from clip_assets.errors import DownloadError

REFUSED = FetchError("refused", "no")
AT_FAULT = "the network of this machine"


def _silence(watch: NetworkWatch, hosts: int, count: int = UNANSWERED_LIMIT) -> None:
    for number in range(count):
        host = f"host{number % hosts}"
        with watch.asking(host):
            watch.unanswered(host, REFUSED)


@pytest.mark.parametrize("hosts", [1, 15, 20, 200])
def test_no_answer_at_all_is_this_machines_fault(hosts: int) -> None:
    watch = NetworkWatch()
    _silence(watch, hosts, UNANSWERED_LIMIT - 1)
    with pytest.raises(DownloadError, match=AT_FAULT):
        _silence(watch, hosts, 1)


@pytest.mark.parametrize("hosts", [1, 15])
def test_hosts_that_have_always_been_silent_are_gone_where_others_answered(hosts: int) -> None:
    watch = NetworkWatch()
    watch.answered("another")
    _silence(watch, hosts, 3 * UNANSWERED_LIMIT)


def test_many_hosts_that_fall_silent_are_this_machines_fault() -> None:
    watch = NetworkWatch()
    watch.answered("another")
    with pytest.raises(DownloadError, match=AT_FAULT):
        _silence(watch, 20)


def test_a_host_that_answered_and_falls_silent_is_a_sign_when_nobody_else_is_asked() -> None:
    watch = NetworkWatch()
    watch.answered("host0")
    with watch.asking("slow"):
        _silence(watch, 1, 2 * UNANSWERED_LIMIT)
    with pytest.raises(DownloadError, match=AT_FAULT):
        _silence(watch, 1, 1)


def test_an_answer_begins_the_count_anew() -> None:
    watch = NetworkWatch()
    _silence(watch, 1, UNANSWERED_LIMIT - 1)
    watch.answered("host0")
    _silence(watch, 1, UNANSWERED_LIMIT - 1)


def test_urls_not_asked_for_a_silent_host_count_and_those_of_a_failing_one_do_not() -> None:
    watch = NetworkWatch()
    for _ in range(2 * UNANSWERED_LIMIT):
        watch.not_asked("answers with 500")
    _silence(watch, 1, 20)
    for _ in range(UNANSWERED_LIMIT - 21):
        watch.not_asked("host0")
    with pytest.raises(DownloadError, match=AT_FAULT):
        watch.not_asked("host0")


def test_few_hosts_are_not_judged_where_that_has_stopped_a_run_before() -> None:
    watch = NetworkWatch(judges_few=False)
    _silence(watch, 19, 3 * UNANSWERED_LIMIT)
    with pytest.raises(DownloadError, match=AT_FAULT):
        _silence(watch, 20, 20)
