"""Labelling tasks: dialogues, label configuration, guideline and images as Label Studio shows them."""
