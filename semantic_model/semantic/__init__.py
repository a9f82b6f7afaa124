"""SeMANTIC, the model of the paper: one file a section."""
