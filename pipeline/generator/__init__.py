"""The embedded default corpus: a catalogue with drawn images, or a real one, and simulated shopping dialogues.

vocabulary   garments, colours, prints, brands: what there is in this world
catalogue    products made of it; real_catalogue reads them from a CSV file instead
silhouettes, prints, drawing   one flat image a product
wants, shelf what a user wants by now, and which products satisfy it
user      a dialogue, move by move; phrases and wording put it into words
quirks       what real corpora have wrong with them, planted and counted
mmd_layout   files as MMD has them; corpus puts everything together
"""
