"""What crosses a border: errors, the ontology, belief states and the Parquet tables of a workspace."""
