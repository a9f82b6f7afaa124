"""Readers of published corpora. Each turns files into the records of :mod:`pipeline.corpus.records`."""
