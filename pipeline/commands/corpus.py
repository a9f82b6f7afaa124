"""Commands that bring a corpus in and say what is in it: ``import`` and ``stats``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipeline.context import JSON_OPTION, Context

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add this group's commands."""
    app.command("import")(import_)


def import_(
    context: typer.Context,
    folder: Annotated[Path, typer.Argument(help="The corpus: dialogues/, products/, images/, url2img.txt.")],
    form: Annotated[str, typer.Option("--format", help="mmd, simmc1, simmc2 or jsonl.")],
    dialogues: Annotated[Path | None, typer.Option(help="Where the dialogues are, if not in FOLDER/dialogues.")] = None,
    products: Annotated[Path | None, typer.Option(help="Where the catalogue is, if not in FOLDER/products.")] = None,
    images: Annotated[Path | None, typer.Option(help="Where the pictures are, if not in FOLDER/images.")] = None,
    ignore_states: Annotated[
        bool, typer.Option("--ignore-states", help="Leave out the belief states that the corpus brings.")
    ] = False,
    topic_change: Annotated[
        str, typer.Option(help="In corpora with per-turn states, does another category start over: reset or keep.")
    ] = "reset",
    as_json: Annotated[bool, JSON_OPTION] = False,
) -> None:
    """Read a corpus into the workspace, with a ledger of everything dropped and why.

    Example: semctl -w work import corpora/mmd --format mmd

    One's own data (--format jsonl): FOLDER/dialogues.jsonl, one dialogue a line:
    {"dialogue_id": "d1", "split": "train", "turns": [
    {"speaker": "user", "text": "a red dress", "state": {"like": {"color": ["red"]}}},
    {"speaker": "system", "text": "This one?", "positives": ["p1"], "negatives": ["p2"]}]};
    FOLDER/products.jsonl, one product a line: {"product_id": "p1", "name": "Red dress",
    "attributes": {"type": "dress", "color": ["red"]}, "price": 39.9, "images": ["p1.jpg"]}
    (or products.csv), and FOLDER/images/.
    """
    from typing import cast

    from pipeline.corpora.updates import TopicChange
    from pipeline.import_corpus import import_corpus

    options: Context = context.obj
    console = options.console(as_json=as_json)
    report = import_corpus(
        options.workspace,
        folder,
        form,
        dialogues=dialogues,
        products=products,
        images=images,
        ignore_states=ignore_states,
        topic_change=cast(TopicChange, topic_change),
        progress=console,
    )
    if as_json:
        console.json(report.as_json())
        return
    found = report.as_json()
    console.table(
        f"Imported into {options.workspace.root}",
        ["", "in", "kept", "dropped", "reasons"],
        [
            [name.replace("_", " "), line["in"], line["kept"], line["in"] - line["kept"], _reasons(line["dropped"])]
            for name, line in found["ledger"].items()
        ],
        caption=", ".join(f"{split} {n:,}" for split, n in found["splits"].items())
        + f" dialogues; {found['user_turns']:,} user turns; {found['products']:,} products",
    )


def _reasons(dropped: dict[str, int]) -> str:
    return ", ".join(f"{reason.replace('_', ' ')} {n:,}" for reason, n in dropped.items())
