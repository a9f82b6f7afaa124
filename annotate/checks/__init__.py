"""Checks of labels: what may be wrong with those in force, said with a reason code; no check changes a label."""
