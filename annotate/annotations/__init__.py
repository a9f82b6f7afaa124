"""Annotations: what annotators marked, in which version of the ontology, and of which dialogue."""
