"""The embedded default corpus: a catalogue with drawn images, or a real one, and simulated shopping dialogues.

data             words, sentences, outlines, sizes and weights as TOML
catalogue        products drawn from the vocabulary, or read from a CSV file
silhouettes, drawing             one flat image a product
user_goal        what a user wants by now, and which products satisfy it
user_simulator, user_policy      a dialogue, move by move; wording puts it into words
corpus           puts everything together, in files as MMD has them
"""
