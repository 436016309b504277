"""Indices of folders of embeddings, as the tools of the field make and read them."""
