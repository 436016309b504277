"""The HTTP client of one download: guarded names, one TLS context, kept connections."""

import asyncio
import functools
import ssl

import aiohttp

from clip_assets.download.fetch import policy
from clip_assets.download.fetch.addresses import AddressGuard
from clip_assets.download.fetch.odd_answers import HEAD_BYTES, ForgivingHandler
from clip_assets.download.fetch.resolvers import NAME_TTL_S, GuardedResolver
from clip_assets.settings import DownloadSettings

KEEP_ALIVE_S = 5.0
"""An idle connection is closed after this."""

RESOLVER_THREADS = 32
"""Names resolved at once at most."""


def open_client(settings: DownloadSettings, guard: AddressGuard) -> aiohttp.ClientSession:
    """A session that follows no redirect, keeps no cookie and uses no proxy.

    Args:
        settings: limits, and who we say we are.
        guard: judges every address that a name resolves to.
    """
    connector = aiohttp.TCPConnector(
        limit=0,
        ssl=ssl.create_default_context(),
        resolver=GuardedResolver(guard, settings.nameservers, RESOLVER_THREADS),
        ttl_dns_cache=int(NAME_TTL_S),
        keepalive_timeout=KEEP_ALIVE_S,
    )
    # There is no public place for it.
    handler = functools.partial(ForgivingHandler, loop=asyncio.get_running_loop())
    connector._factory = handler  # pyright: ignore[reportPrivateUsage, reportAttributeAccessIssue]
    return aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        headers={
            "User-Agent": policy.user_agent(settings.contact),
            "Accept": "image/*,*/*;q=0.5",
            "Accept-Encoding": "identity",
        },
        auto_decompress=False,  # labels are not always true, see ``answers.Unpacker``
        max_line_size=HEAD_BYTES,
        max_field_size=HEAD_BYTES,
        max_headers=HEAD_BYTES,
        timeout=aiohttp.ClientTimeout(
            total=None,
            sock_connect=settings.connect_timeout_s,
            sock_read=settings.read_timeout_s,
        ),
    )
