"""Two rankings side by side before judges: the screen, the tasks, the key, answers read, figures."""
