"""Urls that are under way or have arrived, in the order of their lists, and no more than wished.

Which url of a list comes next is said by ``url_course``, how one is fetched by the project's
fetcher. Files are decoded as they come, in threads; a file keeps its room in the fetcher until it
is decoded, and nothing is asked for while enough waits to be taken.
"""

import threading
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from clip_assets.bricks.arriving import FetchLine, with_file
from clip_assets.bricks.datum import Datum
from clip_assets.download.fetch.jobs import Fetched
from clip_assets.errors import ImageError
from clip_assets.inference.samples import Sample
from clip_assets.settings import DownloadSettings
from clip_assets.streaming.decoded import Decode, Flaw, Item
from clip_assets.streaming.listed_urls import TakenDownNow
from clip_assets.streaming.url_cache import UrlCache
from clip_assets.streaming.url_course import Course

TAKEN_DOWN = "taken_down"

OF_SETTINGS = ("policy_", "private_address")
"""How flaws begin that other settings may not have: they are not remembered."""


@dataclass(frozen=True)
class UrlFetching:
    """How urls become pixels.

    Args:
        settings: limits and manners of the fetcher.
        decode: what is made of an image file.
        cache: where files are kept; None for nowhere.
        threads: that decode.
    """

    settings: DownloadSettings
    decode: Decode
    cache: UrlCache | None
    threads: int


@dataclass(frozen=True, slots=True)
class _Asked:
    course: Course
    place: int
    datum: Datum


class UrlWindow:
    """Fetches and decodes ahead of who takes. Close it, or its threads go on.

    Args:
        courses: all that are taken from.
        fetching: how urls become pixels.

    Raises:
        DownloadError: the fetcher cannot be opened.
    """

    def __init__(self, courses: Sequence[Course], fetching: UrlFetching) -> None:
        self._courses, self._fetching, self._cache = courses, fetching, fetching.cache
        stores = {course.urls.store.uri(): course.urls.store for course in courses
                  if course.urls.store is not None}  # fmt: skip
        self._is_gone = TakenDownNow(stores.values())
        self._changed = threading.Condition()
        self._error: BaseException | None = None
        self._is_closed = False
        self._flaws: list[Flaw] = []
        self.counts: dict[str, Counter[str]] = {course.urls.name: Counter() for course in courses}
        self._line = FetchLine[_Asked](fetching.settings)
        self._threads = ThreadPoolExecutor(fetching.threads, "clip-assets-decode")
        self._pump = threading.Thread(target=self._pass_on, name="clip-assets-arrive", daemon=True)
        self._pump.start()
        with self._changed:
            self._fill(courses)

    def take(self, course: Course) -> Item | None:
        """The next sample of a course, as soon as it is there; None when the course is over.

        One that all others of the course wait for is passed, and taken when it is there.

        Raises:
            DownloadError: the network of this machine is at fault.
        """
        with self._changed:
            while self._error is None:
                if (item := course.take()) is not None:
                    self._fill([course])
                    return item
                if not course.alive:
                    return None
                if course.passes():
                    self._fill([course])
                else:
                    self._changed.wait()
        raise self._error

    def flaws(self) -> list[Flaw]:
        """What was in vain since this was asked last."""
        with self._changed:
            flaws, self._flaws = self._flaws, []
        return flaws

    @property
    def is_at_rest(self) -> bool:
        """Whether nothing is under way, as nobody takes what has arrived."""
        with self._changed:
            stages = (one for course in self._courses for one in course.alive.values())
            return all(isinstance(one, Item) for one in stages)

    def close(self) -> None:
        """End what is under way, and the threads."""
        with self._changed:
            self._is_closed = True
        self._line.wake()
        self._pump.join()
        self._threads.shutdown(wait=True, cancel_futures=True)
        self._line.close()

    def _fill(self, courses: Iterable[Course]) -> None:
        """Ask for as much as each course may have under way; whoever calls has the lock."""
        for course in courses:
            while not self._is_closed and course.wants():
                if (place := course.ask()) is None:
                    break
                self._ask(course, place)

    def _ask(self, course: Course, place: int) -> None:
        datum = course.datum(place)
        uid = datum.uid or ""
        known = self._cache.fault(uid) if self._cache is not None else None
        if self._is_gone(datum):
            known = TAKEN_DOWN
            if self._cache is not None:
                self._cache.remove(uid)
        if known:
            self._tell(course, place, datum, known)
            return
        asked = _Asked(course, place, datum)
        if self._cache is not None and uid in self._cache:
            course.alive[place] = "here"
            self._threads.submit(self._guarded, self._from_cache, asked)
        else:
            self._request(asked)

    def _request(self, asked: _Asked) -> None:
        asked.course.alive[asked.place] = "asked"
        self.counts[asked.course.urls.name]["asked"] += 1
        self._line.submit(asked, str(asked.datum.fields["url"]))

    def _pass_on(self) -> None:
        """Hand what arrives to the threads; for a thread of its own."""
        try:
            while (arrived := self._line.next()) is not None:
                self._threads.submit(self._guarded, self._from_web, *arrived)
        except BaseException as error:
            self._fail(error)

    def _guarded(self, work: Callable[..., None], *arguments: object) -> None:
        try:
            work(*arguments)
        except BaseException as error:
            self._fail(error)

    def _from_web(self, asked: _Asked, fetched: Fetched) -> None:
        with self._changed:
            asked.course.alive[asked.place] = "here"
        try:
            datum = with_file(asked.datum, fetched, self._fetching.settings)
            item = self._decoded(datum)
            if self._cache is not None and item.pixels is not None:
                self._cache.keep(datum)
        finally:
            self._line.release(fetched)
        self._arrived(asked, item)

    def _from_cache(self, asked: _Asked) -> None:
        assert self._cache is not None
        datum = self._cache.read(asked.datum)
        if datum is None:  # removed since
            with self._changed:
                self._request(asked)
            return
        self.counts[asked.course.urls.name]["cached"] += 1
        self._arrived(asked, self._decoded(datum))

    def _decoded(self, datum: Datum) -> Item:
        # What waits to be taken needs no file any more.
        sample = Sample(datum.key, None, datum.caption, datum.fields)
        if datum.fault or datum.image is None:
            return Item(sample, datum.fault)
        try:
            return Item(sample, "", self._fetching.decode(datum.image))
        except ImageError as error:
            return Item(sample, error.found)

    def _arrived(self, asked: _Asked, item: Item) -> None:
        course, place = asked.course, asked.place
        if item.flaw and self._cache is not None and not item.flaw.startswith(OF_SETTINGS):
            self._cache.keep_fault(asked.datum.uid, item.flaw)
        with self._changed:
            if item.flaw:
                course.forget(place)
                self._tell(course, place, asked.datum, item.flaw)
                self._fill([course])
            else:
                course.alive[place] = item
            self._changed.notify_all()

    def _tell(self, course: Course, place: int, datum: Datum, reason: str) -> None:
        course.dead.add(place % len(course.rows))
        self._flaws.append(Flaw(datum.key, reason))
        self.counts[course.urls.name][reason] += 1

    def _fail(self, error: BaseException) -> None:
        with self._changed:
            self._error = self._error or error
            self._changed.notify_all()
