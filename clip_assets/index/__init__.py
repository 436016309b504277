"""From embeddings to a served faiss index whose vector ids are stable."""

# First, and not deep within other imports: pydantic makes the schema of settings by so many nested
# calls that few may stand above it.
import clip_assets.settings  # noqa: F401  # pyright: ignore[reportUnusedImport]
