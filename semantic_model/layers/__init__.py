"""Layers that models share: attention, packing, embeddings, losses."""
