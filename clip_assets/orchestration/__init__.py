"""How the catalogue of assets works in Dagster: bodies, requests, automation, executors."""

import warnings

import dagster as dg

# Backfill policies and automation sensors are beta for years and said so at every import; the
# version of Dagster is pinned, and tests cover what we use of them.
warnings.filterwarnings("ignore", category=dg.BetaWarning)
# Checks of single partitions are in preview.
warnings.filterwarnings("ignore", category=dg.PreviewWarning)
