"""The ontology of a workspace: derived from its catalogue, and changed step by step."""
