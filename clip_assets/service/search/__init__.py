"""From texts, images, embeddings and pairs of a request to what is found for them."""
