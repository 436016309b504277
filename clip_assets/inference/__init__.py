"""From images and captions to embeddings, of partitions and of anything else.

See ``embeddings`` for the stage, ``standalone`` for ``clip-assets embed``, ``pipeline`` for how
samples become vectors. The models themselves are in ``encoders``.
"""
