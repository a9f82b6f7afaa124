"""Model inputs: products, queries, batches, words and image features."""
