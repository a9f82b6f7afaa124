"""Settings of a run, and the presets."""
