# source env.sh: the environment of this checkout, and what Dagster's commands need to find it.
. "$(dirname "${BASH_SOURCE[0]:-$0}")/.venv/bin/activate"
# `dagster asset materialize` reads neither pyproject.toml nor workspace.yaml; this is the
# command's own variable, so no other Dagster command sees it.
export DAGSTER_CLI_ASSET_MATERIALIZE_MODULE_NAME=clip_assets.definitions
export DAGSTER_CLI_ASSET_LIST_MODULE_NAME=clip_assets.definitions
