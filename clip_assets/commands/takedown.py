"""The command that takes pairs down: nobody is shown them from then on."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from clip_assets.commands.options import as_json, pool_options
from clip_assets.errors import ConfigurationError
from clip_assets.terminal import say

if TYPE_CHECKING:
    from clip_assets.storage.store import Store

SHOWN = 20
"""Shards that are named."""

LEAVES = (
    "On disk they stay, and in what was copied elsewhere: in raw, unique and metadata tables, and "
    "as image, vector and index row until their partitions are made again."
)
"""What a takedown does not do."""


@click.command()
@click.argument("what", nargs=-1, metavar="[UID|URL|FILE]...")
@click.option("--reason", help="Why, for whoever lists them later.")
@click.option("--list", "lists", is_flag=True, help="Show what is taken down.")
@click.option("--undo", is_flag=True, help="Let them be shown again.")
@click.option("--dry-run", is_flag=True, help="Say what would be taken down; write nothing.")
@as_json
@pool_options
def takedown(  # noqa: PLR0913  (a command's options are its interface)
    what: tuple[str, ...],
    reason: str | None,
    root: str | None,
    settings_file: str | None,
    *,
    lists: bool,
    undo: bool,
    dry_run: bool,
    json_output: bool,
) -> None:
    """Take pairs down, by uid or url: no search, subset, stream or published table has them.

    A url means every pair of it, also of partitions that are added later. FILE has a uid or url in
    each line, or is a .npy of uids, or a .parquet with a column uid or url. A service that runs
    heeds it with its next answer. Subsets and the hub's data set are made anew without them by the
    next: clip-assets run.
    """
    from clip_assets import graph

    if lists and (what or undo):
        raise click.UsageError("--list shows all, and takes nothing else")
    if not lists and not what:
        raise click.UsageError("say which: uids, urls or files; or --list")
    pool = graph.open_pool(root, settings_file)
    if lists:
        _show(pool.store, json_output=json_output)
        return
    uids, urls = _named(what)
    if undo:
        _undo(pool.store, uids, urls, dry_run=dry_run)
        return
    import pyarrow as pa
    import pyarrow.compute as pc

    from clip_assets.pool import named_pairs, takedowns

    pairs = named_pairs.found(pool, takedowns.of(uids, urls))
    new = 0
    if not dry_run:
        of_urls = pairs.filter(pc.is_in(pairs["url"], pa.array(urls, pa.string())))
        new = takedowns.take_down(pool.store, uids, urls, of_urls, reason)
    shards = sorted({shard for shard in pairs["shard"].to_pylist() if shard})
    if json_output:
        told = {"uids": len(uids), "urls": len(urls), "new": new, "shards": shards}
        click.echo(json.dumps(told | {"pairs": pairs["uid"].to_pylist()}, indent=1))
        return
    verb = "would be taken down" if dry_run else "taken down"
    say(f"{len(uids):,} uids and {len(urls):,} urls {verb}: {len(pairs):,} pairs of this pool")
    if shards:
        more = f" and {len(shards) - SHOWN:,} more" if len(shards) > SHOWN else ""
        say(f"their images lie in shards {', '.join(shards[:SHOWN])}{more}")
    if not dry_run:
        say(LEAVES)
        say("To make subsets and the published data set without them: clip-assets run")


def _show(store: "Store", *, json_output: bool) -> None:
    from clip_assets.pool import takedowns

    rows = takedowns.read(store).table.to_pylist()
    if json_output:
        click.echo(json.dumps(rows, indent=1, default=str))
        return
    for row in rows:
        named = row["url"] if row["uid"] is None else row["uid"]
        of_url = f" of {row['url']}" if row["uid"] and row["url"] else ""
        say(f"{row['time']:%Y-%m-%d %H:%M} {named}{of_url} {row['reason'] or ''}".rstrip())
    if not rows:
        say("nothing is taken down")


def _undo(store: "Store", uids: Sequence[str], urls: Sequence[str], *, dry_run: bool) -> None:
    from clip_assets.pool import takedowns

    count = takedowns.undo(store, uids, urls, dry_run=dry_run)
    entries = "1 entry is" if count == 1 else f"{count:,} entries are"
    say(f"{entries} no longer taken down{', if this were no dry run' if dry_run else ''}")


def _named(what: Iterable[str]) -> tuple[list[str], list[str]]:
    """Uids and urls of arguments and files, each once."""
    entries: list[str] = []
    for one in what:
        entries += [one] if _is_entry(one) else _in_file(Path(one))
    distinct = list(dict.fromkeys(entries))
    return [one for one in distinct if _is_uid(one)], [one for one in distinct if not _is_uid(one)]


def _in_file(file: Path) -> list[str]:
    """The uids and urls of a file.

    Raises:
        ConfigurationError: there is no such file, or a line is neither.
    """
    if not file.is_file():
        raise ConfigurationError(
            "takedown", repr(str(file)), "a uid of 32 hex digits, a url, or a file", "Correct it."
        )
    if file.suffix == ".npy":
        from clip_assets.storage import uid_files, uids

        return uids.texts(uid_files.read(file.read_bytes(), str(file)))
    if file.suffix == ".parquet":
        lines = _in_table(file)
    else:
        lines = [line.strip() for line in file.read_text().splitlines()]
        lines = [line for line in lines if line and not line.startswith("#")]
    wrong = next((line for line in lines if not _is_entry(line)), None)
    if wrong is not None:
        raise ConfigurationError(
            str(file), repr(wrong[:200]), "uids of 32 hex digits, or urls", "Correct the file."
        )
    return lines


def _in_table(file: Path) -> list[str]:
    import pyarrow.parquet as pq

    names = pq.read_schema(file).names
    column = next((name for name in ("uid", "url") if name in names), None)
    if column is None:
        raise ConfigurationError(
            str(file), f"columns {', '.join(names)}", "uid or url", "Name a file that has one."
        )
    return [str(one) for one in pq.read_table(file, columns=[column])[column].to_pylist() if one]


def _is_entry(text: str) -> bool:
    return _is_uid(text) or "://" in text


def _is_uid(text: str) -> bool:
    return len(text) == 32 and all(c in "0123456789abcdefABCDEF" for c in text)
