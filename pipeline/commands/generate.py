"""``semctl generate``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from pipeline.context import JSON_OPTION, opened
from schemas.errors import UsageError


def generate(
    context: typer.Context,
    folder: Annotated[Path, typer.Argument(help="Where to write it: an empty folder, or one that is not there yet.")],
    size: Annotated[
        str, typer.Option(help="test: 30 dialogues; demo: 360; medium: 2,000; mmd-v3: 7,765, as many as the paper's.")
    ] = "demo",
    seed: Annotated[int, typer.Option(help="Same seed, same bytes.")] = 0,
    products: Annotated[int | None, typer.Option(help="How many, if not the size's own number.")] = None,
    catalogue: Annotated[
        Path | None, typer.Option(metavar="CSV", help="Use these real products instead of drawn ones.")
    ] = None,
    images: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Images of the real products; they are copied.")
    ] = None,
    column: Annotated[
        list[str] | None, typer.Option(metavar="FIELD=COLUMN", help="Map a column of the CSV, as in color=baseColour.")
    ] = None,
    wording: Annotated[
        str,
        typer.Option(
            help="How users name what they want. catalogue: by the catalogue's words and some synonyms; "
            "colloquial: by things, occasions, moods, slang and misspellings, in nine turns of ten."
        ),
    ] = "catalogue",
    force: Annotated[bool, typer.Option("--force", help="Replace a corpus that was generated here before.")] = False,
    as_json: Annotated[bool, JSON_OPTION] = False,
) -> None:
    """Make a corpus in MMD's file layout: a catalogue with drawn images, and simulated dialogues with gold states.

    Example: semctl generate corpus --size demo --seed 1 --wording colloquial
    """
    from pipeline.generator.catalogue import parse_columns, read_catalogue
    from pipeline.generator.corpus import GenerateRequest, generate_corpus

    _, console = opened(context, as_json=as_json)
    if (catalogue is None) != (images is None):
        raise UsageError("--catalogue and --images go together", fix="name both, or neither")
    if column and catalogue is None:
        raise UsageError("--column maps the columns of a real catalogue", fix="name it with --catalogue and --images")
    real = None
    if catalogue is not None and images is not None:
        real = read_catalogue(catalogue, images, columns=parse_columns(column or []), count=products, seed=seed)
        console.log("columns: " + ", ".join(f"{field}={name}" for field, name in real.columns.items()))
    report = generate_corpus(folder, GenerateRequest(size, seed, products, real, force, wording), progress=console)
    if as_json:
        console.json({"folder": str(folder), **report.as_json()})
        return
    corruptions = report.corruptions
    rows = [
        ("dialogues", sum(report.dialogues.values())),
        *((f"  {split}", number) for split, number in report.dialogues.items()),
        ("user turns", report.user_turns),
        ("recommendation turns", report.recommendation_turns),
        ("  positives each", report.positives_per_recommendation),
        ("  negatives each", report.negatives_per_recommendation),
        ("products", report.products),
        *((f"  {name} only in the image", number) for name, number in report.only_in_images.items()),
        ("images", report.images["ok"]),
        ("corruptions: broken dialogue files", corruptions["broken_dialogues"]),
        ("corruptions: products with a faulty file", report.faulty_products),
        *_rewording(report.wording or {}),
        *((f"dropped rows: {reason}", number) for reason, number in report.catalogue.get("dropped", {}).items()),
    ]
    console.table(f"A corpus in {folder}", ("what", "count"), rows)
    console.say(f"Next: semctl -w WORKSPACE import {folder} --format mmd")


def _rewording(wording: Mapping[str, Any]) -> Iterator[tuple[str, int]]:
    """Rows on users who do not speak the catalogue's words."""
    if wording:
        yield "user turns in colloquial words", wording["turns"]["reworded"]
        yield "user turns in the catalogue's words", wording["turns"]["as_in_the_catalogue"]
    if wording.get("values_without_phrases"):
        yield "values without colloquial words", sum(map(len, wording["values_without_phrases"].values()))
        yield "  said by the catalogue's word, times", wording["values"]["by_catalogue_word"]
