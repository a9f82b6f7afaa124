"""The page that goes with a trained model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["model_card"]


def model_card(record: Mapping[str, Any]) -> str:
    """``model/README.md`` of a run's record."""
    best = {name: value for name, value in record["best"].items() if name != "epoch"}
    with_states, without = record["labelled_dialogues"], record["unlabelled_dialogues"]
    figures = "\n".join(f"| {name} | {100 * value:.2f} |" for name, value in best.items())
    measured = (
        f"Validation split, ranking every product of the catalogue, in percent (epoch {record['best']['epoch']}):\n\n"
        f"| metric | value |\n|---|---|\n{figures}\n"
        if best
        else "There was no validation split: the last epoch's weights were kept, and no figure can be given.\n"
    )
    return f"""# {record["run"]}

SeMANTIC, a teacher-student ranker of products for shopping dialogues, trained by semctl {record["versions"]["semctl"]}.

- preset `{record["preset"]}`, seed {record["seed"]}, {record["epochs"]} epochs on {record["device"]}
- {record["parameters"]:,} trained parameters
- labelled ratio {record["labeled_ratio"]:g}: {with_states} dialogues with belief states, {without} without
- words: {record["words"]}
- pictures: {record["pictures"]}
- slots: {", ".join(record["slots"])}

{measured}
The validation split chose the epoch, so its figures flatter; `semctl evaluate --split test` gives the ones to quote.
The model knows the words, products and slots of its training data, in the language of that data; what a shopper asks
for beyond them it cannot rank by. It scores products and explains nothing.

Files: `model.safetensors` (weights), `config.json` (settings and sizes), `tokenizer.json` (word pieces).
"""
