"""Grids of runs: what to train (grid), training and measuring it on several cores (running), what came out (summary).

The experiment itself puts them together; a figure shows NDCG@5 against the share of labelled dialogues.
"""
