"""Runs the service in this process until it is asked to end.

The application itself is built by ``service.app``.
"""

import signal
import socket
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

import uvicorn
from starlette.types import ASGIApp

from clip_assets.errors import ConfigurationError
from clip_assets.service import app
from clip_assets.service.hosting.hosted import Hosting
from clip_assets.service.limits.offer import Offer
from clip_assets.service.limits.slow_clients import TimedProtocol, allow_many_files

GRACE_S = 3
"""Seconds that running requests have when the service is asked to end."""


BACKLOG = 2048
"""Connections that wait for a process."""

SWITCH_S = 0.0005
"""For which a thread may keep Python from the others. A model's thread asks for it after each of
its many small steps, and would wait five milliseconds each time by default."""


class _Server(uvicorn.Server):
    """A server that says when it listens.

    Attributes:
        signals: that ended it.
    """

    def __init__(self, config: uvicorn.Config, began: Callable[[], object]) -> None:
        super().__init__(config)
        self._began = began
        self.signals: list[int] = []

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._began()

    @contextmanager
    def capture_signals(self) -> Generator[None]:
        """Take signals while it serves; they are raised again when its event loop has ended."""
        with super().capture_signals():
            yield
            self.signals, self._captured_signals = self._captured_signals, []


def run(
    hosting: Hosting, offer: Offer, host: str, port: int, began: Callable[[str], object]
) -> None:
    """Serve until a signal comes.

    Args:
        hosting: the indices; they are closed at the end.
        offer: what is offered.
        host: the address to listen on.
        port: of it; 0 for one that is free.
        began: told the service's url when requests are answered.

    Raises:
        ConfigurationError: the address cannot be listened on.
    """
    with listen(host, port) as listening:
        numbers = serve(hosting, offer, listening, lambda: began(url(listening)))
    for number in numbers[:1]:
        # The event loop had the file by which others hear of signals.
        signal.raise_signal(number)


def serve(
    hosting: Hosting,
    offer: Offer,
    listening: socket.socket,
    began: Callable[[], object],
    folder: Path | None = None,
) -> list[int]:
    """Serve the connections of a socket until a signal comes.

    Args:
        hosting: the indices; they are closed at the end.
        offer: what is offered.
        listening: the socket.
        began: called when requests are answered.
        folder: see ``app.build``.

    Returns:
        The signals that came.
    """
    sys.setswitchinterval(SWITCH_S)
    allow_many_files()
    server = _Server(configured(app.build(hosting, offer, folder)), began)
    server.run(sockets=[listening])
    return server.signals


def configured(application: ASGIApp) -> uvicorn.Config:
    """How the service is run."""
    return uvicorn.Config(
        application,
        http=TimedProtocol,
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=GRACE_S,
    )


def url(listening: socket.socket) -> str:
    """Of a service that listens."""
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def listen(host: str, port: int) -> socket.socket:
    """A socket that waits for connections.

    Raises:
        ConfigurationError: the address cannot be listened on.
    """
    try:
        return socket.create_server((host, port), family=_family(host), backlog=BACKLOG)
    except OSError as error:
        raise ConfigurationError(
            f"{host}:{port}",
            str(error.strerror),
            "an address of this machine and a port that is free",
            "Name another --host or --port.",
        ) from error


def reserve(host: str, port: int) -> socket.socket:
    """An address for several processes: nothing is connected to this socket, see ``join``.

    Raises:
        ConfigurationError: the address cannot be listened on.
    """
    # One that is shared could be another service's, which would get a part of the requests.
    with listen(host, port) as alone:
        host, port = alone.getsockname()[:2]
    return _shared(host, port)


def join(reserved: socket.socket) -> socket.socket:
    """A socket of this process's own at a reserved address.

    The kernel shares connections out among those that listen. Of one socket for all, whoever wakes
    first takes all that wait, and clients that keep theirs stay with one process.
    """
    host, port = reserved.getsockname()[:2]
    own = _shared(host, port)
    own.listen(BACKLOG)
    return own


def _shared(host: str, port: int) -> socket.socket:
    own = socket.socket(_family(host), socket.SOCK_STREAM)
    own.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    own.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    own.bind((host, port))
    return own


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET
