"""SeMANTIC, the teacher-student ranker of the paper: one file a section."""
