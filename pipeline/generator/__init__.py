"""The embedded default corpus: a catalogue with drawn images, or a real one, and simulated shopping dialogues.

data             words, sentences and outlines as TOML; vocabulary, wording and silhouettes read them
catalogue        products made of them; real_catalogue reads them from a CSV file instead
silhouettes, drawing             one flat image a product
user_goal        what a user wants by now, and which products satisfy it
user_simulator, user_policy      a dialogue, move by move; wording puts it into words
mmd_layout       files as MMD has them; corpus puts everything together
"""
