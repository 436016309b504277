"""From embeddings to a served faiss index whose vector ids are stable."""
