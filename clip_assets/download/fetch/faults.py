"""Why a url gave no image: the classes, which of them may pass, and how exceptions map to them.

What is done about a fault is decided in ``fetcher`` (retries) and ``shard`` (statuses).
"""

import asyncio
import errno
import socket
import ssl
import zlib

import aiohttp
from aiohttp.client_exceptions import ClientConnectorDNSError
from aiohttp.http_exceptions import HttpProcessingError

MESSAGE_LIMIT = 200
"""Characters of a message that are kept; part of it may come from a stranger."""

REDIRECTS = frozenset({301, 302, 303, 307, 308})
"""Statuses that say where else to ask."""

MAY_PASS = {
    "timeout": "a server or a network that is busy now is not later",
    "reset": "servers that are started anew or too busy close connections",
    "incomplete": "a connection broke off",
    "dns_unanswered": "the resolver was too busy, or the network down",
    "dns": "a broken resolver says of every name that it does not exist",
    "refused": "a firewall or a broken network refuses everything; servers are started anew",
    "unreachable": "the network was down",
    "tls": "a wrong clock or a proxy spoils every certificate; expired ones are renewed",
    "host_down": "the url was not asked, as its host had failed",
    "robots_unanswered": "the url was not asked, as its site's rules could not be had",
    "private_address": "the settings may allow the address by now",
    "http_408": "the server waited too long for us",
    "http_425": "the server asks to be asked again",
    "http_429": "the server asks to be asked less often",
    "http_500": "a fault of the server",
    "http_502": "a fault behind the server",
    "http_503": "the server is busy or being worked on",
    "http_504": "what is behind the server is busy",
    **{f"http_{status}": "a fault behind Cloudflare" for status in range(520, 528)},
}
"""Faults that the same request may not meet again later, each with the reason; others are final."""

TRANSIENT = frozenset(MAY_PASS) - {"dns", "refused", "tls", "private_address"}
"""Those that may pass within seconds, so that the same run asks again."""

LOCAL = frozenset({"dns", "dns_unanswered", "refused", "unreachable", "timeout", "tls"})
"""Faults that this machine's own network causes when it is broken."""


class FetchError(Exception):
    """A request that gave no body; it becomes a row, never an error of the partition.

    Args:
        error_class: one word for counting, such as ``dns`` or ``http_404``.
        message: one line for people.
        retry_after_s: what the server asked for.
    """

    def __init__(self, error_class: str, message: str, retry_after_s: float | None = None) -> None:
        super().__init__(error_class, message, retry_after_s)
        self.error_class = error_class
        self.message = one_line(message)
        self.retry_after_s = retry_after_s

    @property
    def is_transient(self) -> bool:
        """Whether another attempt makes sense."""
        return self.error_class in TRANSIENT


EXPECTED = (FetchError, aiohttp.ClientError, HttpProcessingError, OSError, ValueError, zlib.error)
"""What a request may end with."""


def one_line(message: str) -> str:
    """A message without line breaks and control characters, at most ``MESSAGE_LIMIT`` long."""
    start = message[: 2 * MESSAGE_LIMIT]
    if not start.isprintable():
        start = "".join(c if c.isprintable() else " " for c in start)
    return " ".join(start.split())[:MESSAGE_LIMIT]


def classify(error: Exception) -> FetchError:
    """The fault that an exception of the HTTP client stands for."""
    match error:
        case FetchError():
            return error
        case ClientConnectorDNSError():
            return _dns_fault(error.os_error)
        case aiohttp.ClientConnectorCertificateError() | aiohttp.ClientConnectorSSLError():
            return FetchError("tls", _tls_message(error))
        case aiohttp.InvalidURL() | UnicodeError():
            return FetchError("url", f"invalid url: {error}")
        case TimeoutError():
            return FetchError("timeout", "timed out")
        case aiohttp.ClientPayloadError() | zlib.error():
            return FetchError("incomplete", f"incomplete answer: {error}")
        case aiohttp.ClientResponseError() | HttpProcessingError():
            return FetchError("protocol", f"not HTTP: {error.message}")
        case aiohttp.ServerDisconnectedError() | asyncio.IncompleteReadError():
            return FetchError("reset", "server closed the connection without an answer")
        case OSError():
            return _socket_fault(error)
        case _:
            return FetchError("protocol", f"{type(error).__name__}: {error}")


def _dns_fault(error: OSError) -> FetchError:
    if isinstance(error.__cause__, FetchError):
        return error.__cause__
    unanswered = isinstance(error, socket.gaierror) and error.errno == socket.EAI_AGAIN
    return FetchError("dns_unanswered" if unanswered else "dns", error.strerror or str(error))


def _tls_message(error: aiohttp.ClientConnectorError | OSError) -> str:
    inner = error.__cause__
    if isinstance(inner, ssl.SSLCertVerificationError):
        return f"certificate: {inner.verify_message}"
    return f"TLS: {getattr(inner, 'reason', None) or inner or error}"


def _socket_fault(error: OSError) -> FetchError:
    number = error.errno or 0
    message = f"[Errno {number}] {error.strerror or error}"
    if number == errno.ECONNREFUSED:
        return FetchError("refused", message)
    if number in (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN, errno.EADDRNOTAVAIL):
        return FetchError("unreachable", message)
    if number == errno.ETIMEDOUT:
        return FetchError("timeout", message)
    return FetchError("reset", message)
