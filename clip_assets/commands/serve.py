"""The command that hosts pools for people and programs."""

import logging
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from clip_assets import processes
from clip_assets.errors import ClipAssetsError, ConfigurationError
from clip_assets.files.opening import opened
from clip_assets.terminal import say

if TYPE_CHECKING:
    import socket

    from clip_assets.service.hosting.hosted import Hosting
    from clip_assets.service.limits.offer import Offer

MOST_TOKEN_BYTES = 4096
"""Of a token; servers before this one take no longer headers."""

PORT = 1234
"""Where clip-retrieval's service is looked for."""

LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


@click.command()
@click.argument("pools", nargs=-1, metavar="[POOL]...")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=PORT, show_default=True, help="0: a free one."
)
@click.option("--pool", "settings_file", help="Settings file of the only pool.")
@click.option("--allow-host", multiple=True, help="A name by which requests may call the service.")
@click.option("--image-urls", is_flag=True, help="Fetch images that queries name by url.")
@click.option("--cors-origin", "origins", multiple=True, help="Pages that may ask; *: any.")
@click.option(
    "--token-file",
    type=click.Path(exists=True, dir_okay=False),
    help="Holds the token that requests must bear.",
)
@click.option(
    "--rate",
    type=click.FloatRange(min=0),
    default=0,
    help="Requests a second of one client; 0: any number.",
)
@click.option("--access-log/--no-access-log", default=True, help="A line of JSON a request.")
@click.option("--no-uploads", is_flag=True, help="Take no images.")
@click.option("--column", "columns", multiple=True, help="Tell only these of the metadata.")
@click.option(
    "--max-body", type=click.IntRange(1, 1024), default=16, show_default=True, help="MiB a request."
)
@click.option(
    "--workers",
    type=click.IntRange(1, 256),
    default=1,
    show_default=True,
    help="Processes that serve together, each with a model of its own.",
)
@click.option(
    "--indices-paths",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Index folders of clip-retrieval, in the file that its back takes.",
)
@click.option("--clip-model", help="Of folders that name none, such as ViT-B/32.")
def serve(  # noqa: PLR0913  (a command's options are its interface)
    pools: tuple[str, ...],
    host: str,
    port: int,
    settings_file: str | None,
    allow_host: tuple[str, ...],
    columns: tuple[str, ...],
    max_body: int,
    origins: tuple[str, ...],
    token_file: str | None,
    rate: float,
    indices_paths: Path | None,
    clip_model: str | None,
    *,
    image_urls: bool,
    access_log: bool,
    no_uploads: bool,
    workers: int,
) -> None:
    """Search page and API over the served indices of pools.

    POOL is the root of a pool, a path or url, or NAME=ROOT; none: the pool that other commands
    work on. An index folder of clip-retrieval is served likewise, by the model of --clip-model.
    hf://datasets/ORGANISATION/NAME, or such a folder, is searched where it lies.
    """
    from clip_assets.service import serving
    from clip_assets.service import workers as with_workers
    from clip_assets.service.limits.offer import MIB, Offer
    from clip_assets.service.measures import access

    if len(pools) > 1 and settings_file:
        raise click.UsageError("--pool is of one pool: each has its settings in pool.yaml")
    names = {name.lower() for name in allow_host}
    # Of a service on loopback a page from elsewhere could ask by a name of its own.
    hosts = names | LOOPBACK if names or host in LOOPBACK else names
    offer = Offer(
        uploads=not no_uploads,
        body_bytes=max_body * MIB,
        columns=columns or None,
        hosts=frozenset(hosts),
        image_urls=image_urls,
        origins=origins,
        token=token_in(token_file),
        per_second=rate,
        threads=max(1, (os.cpu_count() or 1) // workers),
    )
    if access_log:
        access.begin()
    access.access.disabled = not access_log
    named = (pools, settings_file, indices_paths, clip_model)
    if workers > 1:
        with_workers.run(
            _Worker(named, offer, access_log),
            workers,
            reserved := serving.reserve(host, port),
            lambda: say(f"serving on {serving.url(reserved)}, {workers} processes"),
        )
        return
    hosting = hosting_of(*named)
    for index in hosting.indices.values():
        say(f"{index.name}: version {index.version}", err=True)
    serving.run(hosting, offer, host, port, lambda url: say(f"serving on {url}"))


def hosting_of(
    pools: tuple[str, ...],
    settings_file: str | None,
    indices_paths: Path | None,
    clip_model: str | None,
) -> "Hosting":
    """Pools and index folders, opened, in the order in which they are named."""
    from clip_assets.service.hosting import hosted_folders
    from clip_assets.service.hosting.hosted import HostedIndex, Hosting

    places: list[str | HostedIndex] = [
        hosted_folders.hosted_at(place, clip_model) or place for place in pools
    ]
    folders = hosted_folders.named_in(indices_paths, clip_model) if indices_paths else ()
    places += [hosted_folders.HostedFolder(given) for given in folders]
    if clip_model and all(isinstance(place, str) for place in places):
        raise ConfigurationError(
            "--clip-model",
            repr(clip_model),
            "an index folder that it is the model of",
            "Leave it out: a pool's model is in its settings.",
        )
    return Hosting.of(places, settings_file)


@dataclass(frozen=True)
class _Worker:
    """One of several processes that serve; it is sent to each."""

    named: tuple[tuple[str, ...], str | None, Path | None, str | None]
    offer: "Offer"
    access_log: bool

    def __call__(self, reserved: "socket.socket", folder: Path) -> None:
        """Serve until a signal comes, or the process that started this one ends."""
        from clip_assets import cli
        from clip_assets.service import serving
        from clip_assets.service.measures import access

        processes.follow_parent()
        cli.show_progress(logging.INFO)
        if self.access_log:
            access.begin()
        access.access.disabled = not self.access_log
        try:
            hosting = hosting_of(*self.named)
            with serving.join(reserved) as listening:
                serving.serve(hosting, self.offer, listening, lambda: None, folder)
        except ClipAssetsError as error:
            say(str(error), err=True)
            sys.exit(1)


def token_in(file: str | None) -> str | None:
    """The token of a file.

    Raises:
        ConfigurationError: it is empty, or no header can hold it.
    """
    if file is None:
        return None
    with opened(file) as content:
        token = content.read(2 * MOST_TOKEN_BYTES).decode("latin-1").strip()
    if (
        not 0 < len(token) <= MOST_TOKEN_BYTES
        or not token.isascii()
        or not token.isprintable()
        or " " in token
    ):
        raise ConfigurationError(
            file,
            "no token, or one with other characters",
            "printable ASCII without blanks",
            "Write one: openssl rand -hex 32",
        )
    return token
