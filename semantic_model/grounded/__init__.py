"""SeMANTIC with grounded states: beliefs over the ontology's values, matched to the attributes of products."""
