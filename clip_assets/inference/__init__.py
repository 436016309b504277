"""From images and captions to embeddings."""
