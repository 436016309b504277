"""The Dagster instance of a command line: the one that the UI started here would use."""

from collections.abc import Generator
from contextlib import contextmanager

import dagster as dg
from dagster._cli.utils import get_possibly_temporary_instance_for_cli


@contextmanager
def opened() -> Generator[dg.DagsterInstance]:
    """``DAGSTER_HOME``'s instance, else that of ``dagster.yaml`` in the current folder.

    Without either it is a temporary one: the store remembers what is done, the events of the
    run are gone afterwards.
    """
    with get_possibly_temporary_instance_for_cli("clip-assets") as instance:
        yield instance
