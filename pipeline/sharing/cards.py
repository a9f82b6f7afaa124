"""The pages that go with what is given away, as the Hugging Face Hub shows them: a model's card and a dataset's."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipeline.modelling.run_record import RunRecord
    from pipeline.sharing.label_quality import LabelQuality

METRICS = ("precision@5", "recall@5", "ndcg@5", "recall@10", "ndcg@10", "ndcg@20")

_LICENCE_ID = re.compile(r"[a-z0-9][a-z0-9.+-]*")


def licence_of(given: str | None) -> dict[str, str]:
    """A licence as the Hub's metadata has it; one that was not given is unknown."""
    if given is not None and _LICENCE_ID.fullmatch(given):
        return {"license": given}
    return {"license": "other", "license_name": given or "unknown"}


def front_matter(values: Mapping[str, Any]) -> str:
    """The metadata that a card begins with: YAML, written as JSON, which is YAML, too."""
    lines = (f"{name}: {json.dumps(value, ensure_ascii=False)}" for name, value in values.items())
    return "---\n" + "\n".join(lines) + "\n---\n"


def plain(text: object) -> str:
    """Text from outside, within a line of Markdown or a cell of a table."""
    return re.sub(r"([\\`*_<>\[\]|])", r"\\\1", " ".join(str(text).split()))


def table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table of Markdown."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(
        "| " + " | ".join(cell if cell == "---" else plain(cell) for cell in line) + " |" for line in lines
    )


def bullets(lines: Iterable[str]) -> str:
    """A list of Markdown, of lines that are Markdown already."""
    return "\n".join(f"- {line}" for line in lines)


def model_card(
    record: RunRecord,
    *,
    about: str,
    reimplemented: bool,
    evaluations: Sequence[Mapping[str, Any]],
    quality: LabelQuality | None,
    products: int | None,
    images: int,
    changed: Sequence[str],
    vectors: str | None,
    licence: str | None,
) -> str:
    """The card of an exported model.

    Args:
        about: what kind of model it is.
        reimplemented: as :attr:`semantic_model.ranking.model_spec.ModelSpec.reimplemented`.
        evaluations: the reports that ``semctl evaluate`` left in the run.
        quality: of the labels in the workspace; None for a model that read none.
        products: how many the folder brings; None: none.
        images: of how many images it brings features.
        changed: what of the workspace is no longer as it was when the model was trained.
        vectors: how the vectors in ``product_vectors.parquet`` are to be compared; None: there are none.
        licence: as given.
    """
    head = {
        **licence_of(licence),
        "library_name": "semctl",
        "tags": ["conversational-recommendation", "product-ranking", "multimodal", record.model],
    }
    call = (
        'model.rank([("user", "a red coat, please")], top=5)'
        if not record.ds_input
        else 'model.rank([("user", "a red coat, please")], top=5, state=[("color", "red")])'
    )
    opened = "semantic_model.load(FOLDER)" if products is not None else "semantic_model.load(FOLDER, products=[...])"
    catalogue = (
        f"`products.parquet`: the catalogue that it ranks, {products:,} products; `features/`: what its image encoder "
        f"made of {images:,} images, the photos themselves are not here"
        if products is not None
        else "no catalogue: the products to rank are given to `load`"
    )
    origin = (
        "Re-implemented from its published description: no code of its authors is public; figures are not theirs.\n\n"
        if reimplemented
        else ""
    )
    parts = [
        front_matter(head),
        f"# {plain(record.run)}\n",
        f"{plain(about)}. Trained by semctl {plain(record.versions.get('semctl', '?'))}.\n\n{origin}"
        "```python\nimport semantic_model\n"
        f"model = {opened}\n{call}\n```\n",
        "## Data\n",
        bullets(_data(record, changed)) + "\n",
        "## Label quality\n",
        bullets(["No labels took part: this kind of model reads none."] if quality is None else quality.lines()) + "\n",
        "## Figures\n",
        _figures(record, evaluations),
        "## Limits\n",
        bullets(_limits(record)) + "\n",
        "## Files\n",
        bullets(
            [
                "`model.safetensors`: weights; `config.json`: settings, sizes and slots; `tokenizer.json`: word "
                "pieces; other `.json` files: what the model learned beside its weights",
                "`ontology.json`: slots and values of the states that it reads",
                catalogue,
                *([f"`product_vectors.parquet`: {vectors}"] if vectors else []),
                "`export.json`: SHA-256 of every file. Nothing here is a pickle.",
            ]
        )
        + "\n",
        "## Licence\n",
        _licence(licence, "It was learned from dialogues and a catalogue that are their owners'"),
    ]
    return "\n".join(parts)


def _data(record: RunRecord, changed: Sequence[str]) -> list[str]:
    examples = ", ".join(f"{count:,} of {plain(part)}" for part, count in sorted(record.examples.items()))
    labels = (
        f"{record.labelled_dialogues:,} dialogues with belief states (ratio {record.labeled_ratio:g}"
        f"{', named in a list' if record.labelled_list else ''}), {record.unlabelled_dialogues:,} without"
        if "D_F" in record.inputs
        else f"{record.unlabelled_dialogues:,} dialogues, without belief states"
    )
    return [
        labels,
        *([f"recommendation turns: {examples}"] if examples else []),
        *([f"slots: {', '.join(map(plain, record.slots))}"] if record.slots else []),
        f"words: {plain(record.words)}",
        f"images: {plain(record.pictures)}{'' if record.images else '; left out in training'}",
        f"preset `{record.preset}`, seed {record.seed}, {record.epochs} epochs on {plain(record.device)}, "
        f"{record.parameters:,} trained parameters",
        *(f"{plain(what)} changed since it was trained" for what in changed),
    ]


def _figures(record: RunRecord, evaluations: Sequence[Mapping[str, Any]]) -> str:
    found = []
    rows: list[Sequence[object]]
    if record.figures:
        rows = [(name, f"{100 * value:.2f}") for name, value in sorted(record.figures.items(), key=_by_depth)]
        found.append(
            f"Validation split, every product a candidate, per cent, epoch {record.best_epoch}. This split chose the "
            f"epoch, so that the figures flatter:\n\n{table(['metric', 'value'], rows)}\n"
        )
    for report in evaluations:
        rows = [
            [row["name"], *(f"{100 * row[name]:.2f}" for name in METRICS if name in row), _interval(row)]
            for row in report["rows"]
        ]
        names = [name for name in METRICS if name in report["rows"][0]]
        found.append(
            f"Split {plain(report['split'])}, {report['queries']:,} queries, candidates: "
            f"{plain(report['candidates'])}, catalogue of {report['products']:,} products; per cent"
            f"{'; this split chose the epoch' if report['split'] == 'valid' else ''}:\n\n"
            f"{table(['', *names, '95 % of ndcg@5'], rows)}\n"
        )
    if not any(report["split"] == "test" for report in evaluations):
        found.append("Not measured on a test split: `semctl evaluate --split test` gives the figures to quote.\n")
    return "\n".join(found)


def _by_depth(figure: tuple[str, float]) -> tuple[int, str]:
    name, _, depth = figure[0].partition("@")
    return int(depth) if depth.isdecimal() else 0, name


def _interval(row: Mapping[str, Any]) -> str:
    ends = row.get("intervals", {}).get("ndcg@5")
    return "" if ends is None else f"{100 * ends[0]:.1f} to {100 * ends[1]:.1f}"


def _limits(record: RunRecord) -> list[str]:
    return [
        "It knows the words, products and slots of its training data, in the language of that data; what a user asks "
        "for beyond them it cannot rank by.",
        "A score orders products for one dialogue; it is no probability, and scores of two dialogues do not compare.",
        "The catalogue is ranked as it was exported: stock, prices and what is for sale change without it.",
        "Whom it serves less well has not been looked into: figures are means over all dialogues.",
        *(
            ["Every dialogue has to come with its belief state: it reads gold states as text (--ds-input)."]
            if record.ds_input
            else []
        ),
    ]


def dataset_card(
    name: str,
    *,
    configs: Sequence[Mapping[str, Any]],
    tables: Sequence[tuple[str, str, int]],
    quality: LabelQuality,
    slots: Sequence[tuple[str, str, int]],
    about: Sequence[str],
    named: bool,
    licence: str | None,
) -> str:
    """The card of an exported dataset.

    Args:
        name: what it is called.
        configs: its tables, as the Hub's metadata names them.
        tables: name, what it holds and rows of each.
        slots: name, attribute and number of values of each.
        about: where it comes from, a line each.
        named: whether annotators are named.
        licence: as given.
    """
    head = {
        **licence_of(licence),
        "pretty_name": name,
        "tags": ["conversational-recommendation", "dialogue-state-tracking", "belief-state", "croissant"],
        "configs": list(configs),
    }
    people = (
        "Annotators are named in `annotators` and `annotator`."
        if named
        else "Annotators are called annotator-1, annotator-2, ... throughout; what they wrote as notes, numbers of "
        "their accounts and addresses of their servers are left out. What users and shops said is as it was: nobody "
        "has looked for personal data in it."
    )
    first = next((str(each["config_name"]) for each in configs), "D_F")
    parts = [
        front_matter(head),
        f"# {plain(name)}\n",
        "Shopping dialogues with belief states: after each user turn, what the user wants by then, keyed to the "
        "products of a catalogue. D_F are dialogues whose every user turn is labelled in every slot, D_P all others.\n",
        f'```python\nfrom datasets import load_dataset\nlabelled = load_dataset(FOLDER, "{first}")\n```\n',
        "## Tables\n",
        table(["name", "rows", "what a row is"], [(name, f"{rows:,}", what) for name, what, rows in tables]) + "\n",
        "`state` is null where a turn is not labelled and empty where it asks for nothing: the two are not the same. "
        "It is cumulative: it holds all that is wanted after the turn. `labelled_slots` are those that are known.\n",
        "## Slots\n",
        table(["slot", "attribute of products", "values"], slots) + "\n",
        "`ontology.json` has them with their aliases, `guideline.md` what annotators were told.\n",
        "## Label quality\n",
        bullets(quality.lines()) + "\n",
        "`agreement.json` has every figure, by slot, value and annotator.\n",
        "## Where it comes from\n",
        bullets(map(plain, about)) + "\n",
        "`annotations` has every version of every answer: `source_annotations` of a state name its rows. "
        "`lineage.json` counts what was dropped and refused on the way, with reasons.\n",
        "## People\n",
        people + "\n",
        "## Licence\n",
        _licence(licence, "The dialogues, the catalogue and what it says of images are their owners'"),
    ]
    return "\n".join(parts)


def _licence(given: str | None, whose: str) -> str:
    if given is None:
        return f"None was given, and none is implied. {whose}: ask them before this is passed on or used.\n"
    return f"{plain(given)}, as whoever exported it said. {whose}.\n"
