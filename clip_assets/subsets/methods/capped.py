"""Rows of which each group has at most so many: of a host, a cluster, or a value of a column."""

import difflib
import hashlib

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from clip_assets.errors import ConfigurationError
from clip_assets.settings.curation import Capped
from clip_assets.storage import uids
from clip_assets.subsets.clusters import clustered
from clip_assets.subsets.draws import uniform
from clip_assets.subsets.grouping import Groups
from clip_assets.subsets.judgement import Judgement, Mask, passing
from clip_assets.subsets.numbered import Numbered
from clip_assets.subsets.selection import UID, Account, Judge, Method, Selection

HOST, CLUSTER = "host", "cluster"

_HOST = r"^[A-Za-z][A-Za-z0-9+.-]*://(?:[^/?#@]*@)?(?P<host>[^/?#:]*)"


def judge(selection: Selection, settings: Capped, candidates: Judge) -> Judge:
    """The best of each group, or those that are drawn.

    Raises:
        ConfigurationError: there is no such column, or there are no vectors.
    """
    score = selection.score(settings.score, candidates) if settings.score else None
    column = "url" if settings.per == HOST else settings.per
    clusters = None
    columns = candidates.columns | (score.columns if score else frozenset[str]()) | {UID}
    if settings.per == CLUSTER:
        clusters = clustered(selection, candidates, settings.arch, settings.clusters, settings.seed)
    elif column not in selection.rows.schema.names:
        raise _no_column(column, selection)
    else:
        columns |= {column}
    groups = Groups(selection.new_folder())
    rows = clusters.rows if clusters else Numbered()
    for piece, table in selection.tables(columns):
        if clusters:
            of_piece = clusters.ids[rows.numbers(piece)].astype(np.uint64)
        else:
            kept = np.flatnonzero(candidates.decide(piece, table).kept)
            rows.add(piece, kept)
            of_piece = _numbers(table[column], is_host=settings.per == HOST)[kept]
        own = rows.pieces[piece][1]
        scores = score.of(piece, table)[own] if score else np.zeros(len(own))
        groups.add(of_piece, scores, uniform(uids.pairs(table[UID])[own], settings.seed))
    ranks = groups.ranks().astype(np.float32)
    reached = int(np.count_nonzero(ranks == settings.cap))

    def decide(piece: str, table: pa.Table) -> Judgement:
        places = rows.to_rows(piece, ranks, len(table))
        rules: dict[str, Mask] = {"no_vector": ~np.isnan(places)} if clusters else {}
        return passing(len(table), rules | {"over_the_cap": places < settings.cap})

    figures = {"groups": int(np.count_nonzero(ranks == 0)), "groups_over_the_cap": reached}
    selection.told.append(lambda: Account({f"cap per {settings.per}": figures}))
    return Judge(columns, decide)


def _numbers(column: pa.ChunkedArray, *, is_host: bool) -> npt.NDArray[np.uint64]:
    """(n,) a number for each value, from its text; nulls are a group of their own."""
    texts = column.cast(pa.string())
    if is_host:
        texts = pc.utf8_lower(pc.struct_field(pc.extract_regex(texts, _HOST), "host"))
    plain = pc.fill_null(texts, pa.scalar(""))
    every = pc.unique(plain)
    known = [
        int.from_bytes(hashlib.blake2b(str(text).encode(), digest_size=8).digest())
        for text in every.to_pylist()
    ]
    return np.array(known, np.uint64)[np.asarray(pc.index_in(plain, every))]


def _no_column(column: str, selection: Selection) -> ConfigurationError:
    names = [HOST, CLUSTER, *selection.rows.schema.names]
    nearest = difflib.get_close_matches(column, names, 1)
    hint = f"perhaps {nearest[0]}; " if nearest else ""
    return ConfigurationError(
        f"per: {column}", "no such column", f"{hint}one of {', '.join(names)}", "Name another."
    )


METHOD = Method(Capped, judge)
