"""What ranks: the corpus of a workspace, and the training runs kept in it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.modelling.folds import Fold, fold_splits
from pipeline.modelling.run_record import RECORD, read_record
from pipeline.workspace import Workspace
from schemas.errors import ModelError, UsageError
from schemas.validation import did_you_mean
from semantic_model.data.corpus import Corpus

if TYPE_CHECKING:
    from semantic_model.ranking.network_ranker import NetworkRanker
    from semantic_model.ranking.ranker import Ranker

_MOST_NAMED = 8


def load_corpus(workspace: Workspace, *, images: bool = True, fold: Fold | None = None) -> Corpus:
    """The workspace's corpus, with its images or as if there were none.

    Args:
        images: False leaves every image out.
        fold: divides the dialogues as this fold does; None: as the corpus does.

    Raises:
        WorkspaceError: not a workspace, or nothing was imported.
        SchemaError: a table of another version.
    """
    workspace.require()
    corpus = Corpus.load(
        turns=workspace.turns,
        recommendations=workspace.recommendations,
        products=workspace.products,
        images=workspace.images,
        blank_images=not images,
    )
    return corpus if fold is None else corpus.with_splits(fold_splits(corpus.splits, fold))


def find_run(workspace: Workspace, name: str = "latest") -> Path:
    """The folder of a complete run: the one with this id, or the newest for ``latest``.

    Raises:
        ModelError: no such run (names the nearest), one that is not complete, or none at all.
    """
    folders = sorted(path for path in workspace.runs.glob("*") if path.is_dir())
    complete = [path for path in folders if (path / RECORD).is_file()]
    train = "run `semctl train --labeled-ratio R` first"
    if name == "latest":
        if not complete:
            raise ModelError("no run has been trained to its end here", where=workspace.runs, fix=train)
        return max(complete, key=lambda path: ((path / RECORD).stat().st_mtime_ns, path.name))
    for path in folders:
        if path.name == name:
            if path not in complete:
                raise ModelError(
                    f"the run '{name}' has not been trained to its end", where=path, fix=f"semctl train --resume {name}"
                )
            return path
    known = [path.name for path in complete]
    some = ", ".join([*known[:_MOST_NAMED], *(["..."] if len(known) > _MOST_NAMED else [])])
    fix = did_you_mean(name, known, f"runs: {some}" if known else train)
    raise ModelError(f"there is no run '{name}'", where=workspace.runs, fix=fix)


def open_network(folder: Path, corpus: Corpus) -> NetworkRanker:
    """The trained network of a run's folder, as a ranker that is told nothing.

    Raises:
        ModelError: weights or settings that cannot be used.
        MissingPartError: the image encoder's weights are not here.
    """
    from semantic_model.training.trainer import load_ranker

    return load_ranker(folder, corpus)


def open_ranker(folder: Path, corpus: Corpus, *, product_table: str = "float32") -> Ranker:
    """The trained ranker of a run's folder; one that reads gold states as text finds them in the workspace.

    Args:
        product_table: how exactly it keeps encoded products: float32, or bfloat16 in half the memory.

    Raises:
        ModelError: weights or settings that cannot be used.
        UsageError: another kind of product table, or one that this kind of model does not have.
        WorkspaceError: no gold states, which it reads.
    """
    from semantic_model.ranking.ranker import ScoresTables

    ranker = open_network(folder, corpus)
    if read_record(folder).ds_input:
        from pipeline.modelling.training_data import gold_states, states_of
        from semantic_model.ranking.network_ranker import ToldRanker

        gold = gold_states(Workspace(folder.parent.parent))
        ranker = ToldRanker(ranker, lambda queries: states_of(queries, gold))
    if product_table == "float32":
        return ranker
    if product_table != "bfloat16":
        raise UsageError(f"no product table of '{product_table}'", fix="float32 or bfloat16")
    if not isinstance(ranker.model, ScoresTables):
        raise UsageError(f"a {ranker.name} has a float32 product table only", fix="leave --product-table out")
    ranker.precision = "bfloat16"
    return ranker
