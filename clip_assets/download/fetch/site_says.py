"""What the files of a site say of a url's use, as far as the settings ask for them."""

from datetime import UTC, datetime

import aiohttp
from yarl import URL

from clip_assets.download.fetch.addresses import AddressGuard
from clip_assets.download.fetch.faults import FetchError
from clip_assets.download.fetch.robots import Robots
from clip_assets.download.fetch.signals import (
    Signals,
    reserves_training,
    signals_no_training,
)
from clip_assets.download.fetch.tdmrep import TdmRep
from clip_assets.settings import DownloadSettings


class SiteSays:
    """Asks the sites of urls for robots.txt and tdmrep.json.

    Args:
        session: the HTTP client.
        guard: judges literal addresses.
        settings: which files are asked for, and whether robots.txt is obeyed.
    """

    def __init__(
        self, session: aiohttp.ClientSession, guard: AddressGuard, settings: DownloadSettings
    ) -> None:
        self._settings = settings
        # What only goes on record leaves an image most of its own time.
        share_s = settings.deadline_s / 4
        obeyed_s = settings.deadline_s if settings.respect_robots else share_s
        self._robots = Robots(session, guard, obeyed_s)
        self._tdmrep = TdmRep(session, guard, share_s)

    async def ask(self, url: URL, signals: Signals) -> float:
        """Record what a url's site says of its use.

        Returns:
            Seconds that it asks us to leave between two requests, where that is obeyed.

        Raises:
            FetchError: ``policy_robots``, or that of ``Robots.rules``, where robots.txt is obeyed.
        """
        delay_s = 0.0
        if self._settings.respect_robots or self._settings.ask_sites:
            delay_s = await self._ask_robots(url, signals)
        if self._settings.ask_sites:
            value, read_at = await self._tdmrep.said(url)
            signals.asked(read_at)
            signals.take("tdmrep_json", value, reserves=value.startswith("1"))
        return (
            min(delay_s, self._settings.max_crawl_delay_s) if self._settings.respect_robots else 0
        )

    async def _ask_robots(self, url: URL, signals: Signals) -> float:
        try:
            rules = await self._robots.rules(url)
        except FetchError:
            if self._settings.respect_robots:
                raise
            signals.asked(datetime.now(UTC))
            signals.take("robots", "unanswered", reserves=False)
            return 0.0
        signals.asked(rules.read_at)
        verdict = rules.verdict(url)
        is_allowed = verdict == "allow"
        signals.take("robots", verdict, reserves=not is_allowed)
        if self._settings.respect_robots and not is_allowed:
            raise FetchError("policy_robots", "disallowed by robots.txt")
        if usages := rules.usage(url):
            reserves = any(map(reserves_training, usages))
            signals.take("robots_content_usage", " | ".join(usages), reserves=reserves)
        if told := rules.signal(url):
            reserves = any(map(signals_no_training, told))
            signals.take("robots_content_signal", " | ".join(told), reserves=reserves)
        return rules.crawl_delay_s
