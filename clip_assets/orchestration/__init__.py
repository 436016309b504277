"""The Dagster layer: the only package that imports dagster."""

import warnings

import dagster as dg

# Backfill policies and automation sensors are beta for years and said so at every import; the
# version of Dagster is pinned, and tests cover what we use of them.
warnings.filterwarnings("ignore", category=dg.BetaWarning)
