"""``semctl import``."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.context import ENGINE, JSON_OPTION, opened
from pipeline.engine import EngineName, find_engine

if TYPE_CHECKING:
    from pipeline.corpus.records import SplitShares


def import_(
    context: typer.Context,
    folder: Annotated[
        str,
        typer.Argument(
            help="The corpus: dialogues/, products/, images/, url2img.txt; or the address of its folder (s3://...)."
        ),
    ],
    form: Annotated[str, typer.Option("--format", help="mmd, simmc1, simmc2 or jsonl.")],
    dialogues: Annotated[Path | None, typer.Option(help="Where the dialogues are, if not in FOLDER/dialogues.")] = None,
    products: Annotated[Path | None, typer.Option(help="Where the catalogue is, if not in FOLDER/products.")] = None,
    images: Annotated[Path | None, typer.Option(help="Where the images are, if not in FOLDER/images.")] = None,
    ignore_states: Annotated[
        bool, typer.Option("--ignore-states", help="Leave out the belief states that the corpus brings.")
    ] = False,
    topic_change: Annotated[
        str, typer.Option(help="In corpora with per-turn states, does another category start over: reset or keep.")
    ] = "reset",
    split: Annotated[
        str | None,
        typer.Option(
            metavar="SHARES",
            help="Draw the splits by dialogue, as in train=0.8,valid=0.2, instead of taking the corpus's own.",
        ),
    ] = None,
    split_seed: Annotated[int, typer.Option(help="Another seed draws other splits; same seed, same splits.")] = 0,
    jobs: Annotated[
        int | None,
        typer.Option(min=1, help="Processes that read a large corpus in MMD's layout; as many as cores unless given."),
    ] = None,
    engine: Annotated[EngineName, ENGINE] = EngineName.local,
    as_json: Annotated[bool, JSON_OPTION] = False,
) -> None:
    """Read a corpus into the workspace, with a ledger of everything dropped and why.

    An address is read by fsspec: its files are copied into the workspace (source/), a second time only what changed.

    Example: semctl -w work import corpora/mmd --format mmd

    Example: semctl -w work import s3://bucket/corpora/mmd --format mmd

    One's own data (--format jsonl): FOLDER/dialogues.jsonl, one dialogue a line:

    {"dialogue_id": "d1", "split": "train", "turns": [
    {"speaker": "user", "text": "a red dress", "state": {"like": {"color": ["red"]}}},
    {"speaker": "system", "text": "This one?", "positives": ["p1"], "negatives": ["p2"]}]}

    FOLDER/products.jsonl (or products.csv), one product a line, and FOLDER/images/:

    {"product_id": "p1", "name": "Red dress",
    "attributes": {"type": "dress", "color": ["red"]}, "price": 39.9, "images": ["p1.jpg"]}
    """
    from typing import cast

    from pipeline.corpus.catalogue import TopicChange
    from pipeline.corpus.import_corpus import ImportRequest, import_corpus
    from pipeline.corpus.records import SplitShares
    from pipeline.corpus.remote import fetch_corpus
    from pipeline.workspace import is_address

    workspace, console = opened(context, as_json=as_json)
    request = ImportRequest(
        Path(folder),
        form,
        dialogues=dialogues,
        products=products,
        images=images,
        ignore_states=ignore_states,
        topic_change=cast(TopicChange, topic_change),
        split=None if split is None else SplitShares.parse(split, split_seed),
        jobs=jobs,
    )
    workers_of = find_engine(engine, jobs)
    if is_address(folder):
        workspace.require_path()
        request = replace(request, folder=fetch_corpus(folder, workspace.source, console))
    with workers_of() as workers:
        report = import_corpus(workspace, request, engine=workers, progress=console)
    currencies = [f"{n:,} in {name}" for name, n in report.prices_by_currency.items() if name != "unknown"]
    if len(currencies) > 1:
        unknown = report.prices_by_currency.get("unknown", 0)
        beside = f"; {unknown:,} in no named currency are in no range" if unknown else ""
        told = ", ".join(currencies)
        console.log(f"warning: prices in several currencies ({told}): each has ranges of its own{beside}")
    if ambiguous := report.ledger["images"].dropped.get("ambiguous", 0):
        fix = "say in url2img.txt which link is which file" if form == "mmd" else "name images by file, with suffix"
        console.log(f"warning: {ambiguous:,} images are left out, as several links or files go by one name; {fix}")
    if as_json:
        console.json(report.as_json())
        return
    found = report.as_json()
    console.table(
        f"Imported into {workspace.root}",
        ["", "in", "kept", "dropped", "reasons"],
        [
            [name.replace("_", " "), line["in"], line["kept"], line["in"] - line["kept"], _reasons(line["dropped"])]
            for name, line in found["ledger"].items()
        ],
        caption=", ".join(f"{name} {n:,}" for name, n in found["splits"].items())
        + f" dialogues{_drawn(report.drawn_splits)}; {found['user_turns']:,} user turns; "
        + f"{found['products']:,} products",
    )
    if dead := report.images["dead"]:
        console.say(f"links without a file: {dead:,}; semctl fetch-images --dry-run counts them by host")
    if report.ledger["states"].kept:
        console.say("Next: semctl ingest-labels takes the corpus's own states; or, to label, semctl studio start")
    else:
        console.say("Next: semctl studio start, then semctl export-for-labelling --project NAME")


def _drawn(shares: SplitShares | None) -> str:
    if shares is None:
        return ""
    drawn = ", ".join(f"{name} {share:g}" for name, share in shares.shares.items())
    return f" (drawn by dialogue: {drawn}, seed {shares.seed})"


def _reasons(dropped: dict[str, int]) -> str:
    return ", ".join(f"{reason.replace('_', ' ')} {n:,}" for reason, n in dropped.items())
