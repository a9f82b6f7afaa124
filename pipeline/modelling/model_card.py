"""The page that goes with a trained model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["model_card"]


_WHAT = {
    "semantic": "SeMANTIC, a teacher-student ranker of products for shopping dialogues",
    "grounded": "SeMANTIC with states grounded in the catalogue, a ranker of products for shopping dialogues",
    "dual-encoder": "A dual encoder without belief states, which ranks products for shopping dialogues",
}


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
    labels = (
        f"labelled ratio {record['labeled_ratio']:g}: {with_states} dialogues with belief states, {without} without; "
        f"slots: {', '.join(record['slots'])}"
        if record["model"] != "dual-encoder"
        else f"{without} dialogues, without belief states"
    )
    return f"""# {record["run"]}

{_WHAT[record["model"]]}, trained by semctl {record["versions"]["semctl"]}.

- preset `{record["preset"]}`, seed {record["seed"]}, {record["epochs"]} epochs on {record["device"]}
- {record["parameters"]:,} trained parameters
- {labels}
- words: {record["words"]}
- images: {record["images"]}

{measured}
The validation split chose the epoch, so its figures flatter; `semctl evaluate --split test` gives the ones to quote.
The model knows the words, products and slots of its training data, in the language of that data; what a user asks
for beyond them it cannot rank by. It scores products and explains nothing.

Files: `model.safetensors` (weights), `config.json` (settings and sizes), `tokenizer.json` (word pieces).
"""
