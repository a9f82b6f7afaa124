"""The stages of semctl in order, from raw dialogues to ranked products, and the command line over them."""
