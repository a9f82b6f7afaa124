"""Ranking metrics, candidates and uncertainty."""
