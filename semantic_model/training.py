"""The training loop: one optimiser, passes over D_F and D_P, selection on the whole catalogue every epoch."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from schemas.belief import BeliefState
from schemas.errors import ModelError, UsageError
from schemas.progress import Progress, SilentProgress
from semantic_model.architecture import ARCHITECTURES, Architecture, find_architecture, fresh_model
from semantic_model.batch import ProductBatch, Reader, StateBatch
from semantic_model.checkpoint import (
    ModelCard,
    load_checkpoint,
    load_model,
    load_weights,
    read_card,
    save_checkpoint,
    save_model,
    save_weights,
)
from semantic_model.config import Config
from semantic_model.data import Corpus
from semantic_model.image import Features, load_features
from semantic_model.interruption import Interrupted, stop_request
from semantic_model.journal import Journal
from semantic_model.metrics import mean_metrics, rank_metrics
from semantic_model.objective import Objective
from semantic_model.ranker import Query, Ranker
from semantic_model.sampling import Part, Sampled, Step, epoch_steps, sample
from semantic_model.text import Words

__all__ = ["Examples", "Interrupted", "Trained", "Trainer", "load_ranker"]

SELECT = "ndcg@5"
"""What an epoch is judged by: on the validation split, over every product."""


@dataclass(frozen=True)
class Examples:
    """What there is to train on.

    Attributes:
        labelled: recommendation turns of D_F.
        states: the gold state of each, as of the shopper's last turn.
        unlabelled: recommendation turns of D_P, which holds D_F's dialogues with their labels hidden.
        valid: recommendation turns to select on; may be empty.
    """

    labelled: Sequence[Query]
    states: Sequence[BeliefState]
    unlabelled: Sequence[Query]
    valid: Sequence[Query]


@dataclass(frozen=True)
class Trained:
    """How training went.

    Attributes:
        epochs: epochs trained, over all sittings.
        best_epoch: the epoch whose weights were kept, from 1.
        best: its validation figures; empty without a validation split.
        history: one entry an epoch, as in ``metrics.jsonl``.
    """

    epochs: int
    best_epoch: int
    best: dict[str, float]
    history: list[dict[str, Any]]


@dataclass
class _Progress:
    """Where training is; what a checkpoint holds beside tensors."""

    epoch: int = 0  # epochs finished
    step: int = 0  # steps done of the epoch under way
    global_step: int = 0
    best_epoch: int = 0
    best: dict[str, float] = field(default_factory=dict)
    sums: dict[str, list[float]] = field(default_factory=dict)  # term -> [sum, batches], of the epoch under way
    history: list[dict[str, Any]] = field(default_factory=list)


class Trainer:
    """Trains one model in one run folder.

    Args:
        config: all settings.
        examples: what to train on.
        corpus: the catalogue.
        words: word pieces, with vectors or without.
        features: the pictures.
        slots: names of the state's slots.
        architecture: what is trained; the paper's model unless another is named.
        folder: the run's folder; gets ``metrics.jsonl``, ``checkpoints`` and ``model``.
        seed: of the weights, the order, the candidates and the dropout.
        device: where to compute; None: a GPU when there is one.

    Raises:
        UsageError: there is nothing to train on.
    """

    def __init__(
        self,
        config: Config,
        examples: Examples,
        corpus: Corpus,
        *,
        words: Words,
        features: Features,
        slots: Sequence[str],
        folder: Path,
        seed: int,
        device: torch.device | None = None,
        progress: Progress | None = None,
        architecture: Architecture = ARCHITECTURES["semantic"],
    ) -> None:
        self.config = config
        self.architecture = architecture
        self.corpus = corpus
        self.words = words
        self.features = features
        self.folder = folder
        self.seed = seed
        self.shown: Progress = progress or SilentProgress()
        self.device = device or torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.reader = Reader(config, words, features, slots)
        self.examples = examples
        self.queries: dict[Part, Sequence[Query]] = {"D_F": examples.labelled, "D_P": examples.unlabelled}
        self.sizes: dict[Part, int] = {part: len(queries) for part, queries in self.queries.items() if len(queries)}
        if not self.sizes:
            raise UsageError(
                "the training split has no recommendation turns to train on",
                fix="import dialogues in which products are recommended",
            )
        self.contexts = {part: self.reader.contexts(self.queries[part]) for part in self.sizes}
        self.states = self.reader.states(examples.states)
        self.valid = self.reader.contexts(examples.valid)
        self.products = ProductBatch(*(part.to(self.device) for part in self.reader.products(corpus.products)))
        torch.manual_seed(seed)
        pictured = self.products.image[self.products.image_mask].cpu()
        self.model: Any = fresh_model(architecture, config, words, self.reader, pictured).to(self.device)
        trained = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        train = config.train
        kind = torch.optim.AdamW if train.weight_decay else torch.optim.Adam
        self.optimiser: torch.optim.Optimizer = kind(trained, lr=train.learning_rate, weight_decay=train.weight_decay)
        self.steps_an_epoch = len(epoch_steps(train, self.sizes, seed=seed, epoch=0))
        self.ranker = architecture.ranker(self.model, self.reader)
        self.journal = Journal(folder / "metrics.jsonl")
        self.at = _Progress()

    @property
    def last(self) -> Path:
        """The checkpoint to go on from."""
        return self.folder / "checkpoints" / "last.safetensors"

    @property
    def best(self) -> Path:
        """Weights of the best epoch."""
        return self.folder / "checkpoints" / "best.safetensors"

    def restore(self) -> None:
        """Go on from the run's checkpoint; without one, from the start.

        Raises:
            ModelError: a checkpoint that cannot be used.
        """
        if self.last.is_file():
            self.at = _Progress(**load_checkpoint(self.last, self.model, self.optimiser))
        self.journal.cut(self.at.global_step)

    def fit(self) -> Trained:
        """Train to the last epoch, or until patience is out; writes ``model`` from the best epoch's weights.

        Raises:
            Interrupted: stopped by Ctrl-C; a checkpoint holds everything up to the last step.
            ModelError: a loss or a gradient is not a number; names the batch.
        """
        train = self.config.train
        total = train.epochs * self.steps_an_epoch
        with stop_request() as stop, self.shown.task("training", total) as task:
            task.advance(self.at.epoch * self.steps_an_epoch + self.at.step)
            while self.at.epoch < train.epochs and not self._out_of_patience():
                self._epoch(task, stop)
        load_weights(self.best, self.model)
        card = ModelCard(
            self.architecture.name,
            self.config,
            self.reader.slots,
            self.model.words.table.embedding_dim,
            self.features.width,
            self.words.source,
            self.features.source,
        )
        save_model(self.folder / "model", self.model, self.words, card)
        return Trained(self.at.epoch, self.at.best_epoch, self.at.best, self.at.history)

    def _out_of_patience(self) -> bool:
        patience = self.config.train.patience
        return bool(patience and self.at.epoch - self.at.best_epoch >= patience and self.at.best)

    def _epoch(self, task: Any, stop: threading.Event) -> None:
        train, at = self.config.train, self.at
        began, trained = time.perf_counter(), 0
        for step in epoch_steps(train, self.sizes, seed=self.seed, epoch=at.epoch)[at.step :]:
            objective = self._step(step)
            at.step += 1
            at.global_step += 1
            trained += len(step.rows)
            for name, value in {"loss": objective.total, **objective.terms}.items():
                entry = at.sums.setdefault(f"{step.part}.{name}", [0.0, 0])
                entry[0] += float(value.detach())
                entry[1] += 1
            rate = trained / (time.perf_counter() - began)
            task.advance(1, note=self._note(rate))
            if at.global_step % train.log_every == 0:
                self.journal.write(kind="step", **self._figures(objective, step), examples_per_second=round(rate, 1))
            if stop.is_set():
                self._save()
                raise Interrupted
        valid = self._validate()
        at.epoch += 1
        at.step = 0
        means = {name: total / count for name, (total, count) in sorted(at.sums.items())}
        at.sums = {}
        line = {"epoch": at.epoch, "step": at.global_step, **means, **valid}
        at.history.append(line)
        if not valid or valid[SELECT] > at.best.get(SELECT, -1.0):
            at.best_epoch, at.best = at.epoch, valid
            save_weights(self.best, self.model)
        seconds = time.perf_counter() - began
        self.journal.write(kind="epoch", **line, seconds=round(seconds, 3))
        self._save()
        figure = f"valid ndcg@5 {100 * valid[SELECT]:.2f}" if valid else "no validation split"
        losses = " ".join(f"{name} {value:.3f}" for name, value in means.items() if name.endswith(".loss"))
        self.shown.log(f"epoch {at.epoch}/{train.epochs}: {losses}  {figure}  (best: {at.best_epoch})  {seconds:.1f} s")

    def _step(self, step: Step) -> Objective:
        train, at = self.config.train, self.at
        self.model.train()
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate(self.config, at.global_step, train.epochs * self.steps_an_epoch)
        queries = [self.queries[step.part][row] for row in step.rows.tolist()]
        drawn = sample(queries, train, len(self.corpus.products), seed=self.seed, epoch=at.epoch, step=at.step)
        choices = drawn.choices.to(self.device)
        batch = self.contexts[step.part].batch(step.rows, self.features, self.device)
        products = self._encode_products(drawn)
        states = None
        if step.part == "D_F":
            rows = torch.from_numpy(step.rows)
            states = StateBatch(*(part[rows].to(self.device) for part in self.states))
        warming_up = at.epoch < train.teacher_warmup_epochs
        objective = self.architecture.objective(self.model, batch, states, products, choices, warming_up)
        self.optimiser.zero_grad(set_to_none=True)
        if not torch.isfinite(objective.total):
            raise self._not_a_number(step, queries, objective, "the loss")
        if objective.total.requires_grad:
            objective.total.backward()  # type: ignore[no-untyped-call]
            norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), train.clip)
            if not torch.isfinite(norm):
                raise self._not_a_number(step, queries, objective, "the gradient")
            self.optimiser.step()
        return objective

    def _encode_products(self, drawn: Sampled) -> Any:
        if drawn.products is None:
            return self.model.encode_products(self.products)
        rows = torch.from_numpy(drawn.products).to(self.device)
        return self.model.encode_products(ProductBatch(*(part[rows] for part in self.products)))

    def _not_a_number(self, step: Step, queries: Sequence[Query], objective: Objective, what: str) -> ModelError:
        bad = [name for name, value in objective.terms.items() if not torch.isfinite(value)]
        first = queries[0]
        return ModelError(
            f"{what} is not a number" + (f" in {', '.join(bad)}" if bad else ""),
            where=f"epoch {self.at.epoch + 1}, step {self.at.step + 1}, {step.part}, "
            f"a batch of {len(queries)} beginning with dialogue {first.dialogue_id}, turn {first.turn}",
            fix="train with a lower train.learning_rate or train.clip",
        )

    @torch.inference_mode()
    def _validate(self) -> dict[str, float]:
        """Mean metrics over all products of the catalogue; empty without validation turns."""
        if not len(self.valid):
            return {}
        self.model.eval()
        table = self.model.encode_products(self.products)
        parts = []
        for start in range(0, len(self.valid), 256):
            part = slice(start, start + 256)
            arrays = type(self.valid)(self.valid.tokens[part], self.valid.image_rows[part], self.valid.turn_mask[part])
            scores = self.ranker.score(self.ranker.encode_arrays(arrays), table)
            relevant = np.zeros(scores.shape, dtype=np.bool_)
            for row, query in enumerate(self.examples.valid[part]):
                relevant[row, list(query.positives)] = True
            parts.append(rank_metrics(scores, relevant, empty="nan"))
        means, _ = mean_metrics({name: np.concatenate([part[name] for part in parts]) for name in parts[0]})
        return means

    def _note(self, rate: float) -> str:
        at = self.at
        losses = " ".join(
            f"{name} {total / count:.3f}" for name, (total, count) in sorted(at.sums.items()) if name.endswith(".loss")
        )
        best = f" best {100 * at.best[SELECT]:.1f}" if at.best else ""
        return f"epoch {at.epoch + 1} {losses} {rate:.0f}/s{best}"

    def _figures(self, objective: Objective, step: Step) -> dict[str, Any]:
        return {
            "epoch": self.at.epoch + 1,
            "step": self.at.global_step,
            "part": step.part,
            "learning_rate": self.optimiser.param_groups[0]["lr"],
            "loss": float(objective.total.detach()),
            **{name: float(value.detach()) for name, value in objective.terms.items()},
        }

    def _save(self) -> None:
        save_checkpoint(self.last, self.model, self.optimiser, vars(self.at))


def learning_rate(config: Config, step: int, total: int) -> float:
    """Linear warm-up over a share of all steps, then linear decay to zero (section 4.2)."""
    warm = config.train.warmup * total
    rate = config.train.learning_rate
    if step + 1 <= warm:
        return rate * (step + 1) / (warm + 1)
    return rate * (total - step) / max(total - warm, 1)


def load_ranker(run_folder: Path, corpus: Corpus, *, cache: Path | None = None) -> Ranker:
    """The trained ranker of a run, ready to score this corpus.

    Args:
        run_folder: a run's folder, with ``model`` in it.
        corpus: the pictures it may look at.
        cache: folder of the picture features; None: ``features`` of the workspace that the run lies in.

    Raises:
        ModelError: files missing, cut off or that do not fit together.
        MissingPartError: the picture encoder's weights are not here.
    """
    folder = run_folder / "model"
    card = read_card(folder)
    if cache is None and run_folder.parent.name == "runs":
        cache = run_folder.parent.parent / "features"
    features = load_features(card.config.image, corpus.image_files, hashes=corpus.image_hashes, cache=cache)
    model, reader = load_model(folder, features, card)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return find_architecture(card.architecture).ranker(model.to(device), reader)
