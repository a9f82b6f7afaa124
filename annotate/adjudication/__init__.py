"""Turns that annotators answer differently: put before a reviewer, and told to the annotators."""
