"""The page that goes with a trained model."""

from __future__ import annotations

from pipeline.modelling.run_record import RunRecord


def model_card(record: RunRecord, about: str) -> str:
    """``model/README.md`` of a run's record; ``about``: what kind of model it is."""
    best = record.figures
    with_states, without = record.labelled_dialogues, record.unlabelled_dialogues
    figures = "\n".join(f"| {name} | {100 * value:.2f} |" for name, value in best.items())
    measured = (
        f"Validation split, ranking every product of the catalogue, in percent (epoch {record.best_epoch}):\n\n"
        f"| metric | value |\n|---|---|\n{figures}\n"
        if best
        else "There was no validation split: the last epoch's weights were kept, and no figure can be given.\n"
    )
    labels = (
        f"labelled ratio {record.labeled_ratio:g}: {with_states} dialogues with belief states, {without} without; "
        f"slots: {', '.join(record.slots)}"
        if "D_F" in record.inputs
        else f"{without} dialogues, without belief states"
    )
    return f"""# {record.run}

{about}, trained by semctl {record.versions["semctl"]}.

- preset `{record.preset}`, seed {record.seed}, {record.epochs} epochs on {record.device}
- {record.parameters:,} trained parameters
- {labels}
- words: {record.words}
- images: {record.pictures}

{measured}
The validation split chose the epoch, so its figures flatter; `semctl evaluate --split test` gives the ones to quote.
The model knows the words, products and slots of its training data, in the language of that data; what a user asks
for beyond them it cannot rank by. It scores products and explains nothing.

Files: `model.safetensors` (weights), `config.json` (settings and sizes), `tokenizer.json` (word pieces).
"""
