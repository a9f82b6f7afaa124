"""Labels of a workspace: tasks out to annotators, answers back in, checked and resolved."""
