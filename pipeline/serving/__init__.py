"""A trained run behind HTTP: the app, how requests become batches, and the page to try it in."""
