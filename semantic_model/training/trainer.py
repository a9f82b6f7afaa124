"""The training loop: one optimiser, passes over D_F and D_P, selection on the whole catalogue every epoch."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import isfinite
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from pydantic import TypeAdapter

from schemas.belief import BeliefState
from schemas.errors import ModelError, UsageError
from schemas.files import taken_apart
from schemas.ontology import Ontology
from schemas.progress import Progress, SilentProgress, Task
from semantic_model.config.config import Config
from semantic_model.data.batch import Reader, to_device
from semantic_model.data.corpus import Corpus
from semantic_model.data.image_features import NO_IMAGE, Features, load_features
from semantic_model.data.records import Product, Query
from semantic_model.data.rows import map_rows, moved
from semantic_model.data.tokenizer import Vocabulary
from semantic_model.data.vision import FineTuned
from semantic_model.layers.attention import compile_stacks, precision_of, set_precision
from semantic_model.layers.images import StandardizedImages
from semantic_model.layers.word_vectors import FromWords
from semantic_model.ranking.model_spec import Fitted, ModelSpec, Sizes, Sources, StepBatch, find_model
from semantic_model.ranking.network_ranker import NetworkRanker
from semantic_model.training.checkpoint import (
    ModelCard,
    load_checkpoint,
    load_model,
    load_weights,
    read_card,
    save_checkpoint,
    save_model,
    save_weights,
)
from semantic_model.training.distributed import Processes, SplitModel
from semantic_model.training.metrics_log import AsyncMetrics, MetricsLog
from semantic_model.training.optimizer import ScheduledAdam
from semantic_model.training.sampling import Part, Step, epoch_steps, sample
from semantic_model.training.validation import is_better, validate


class Interrupted(KeyboardInterrupt):
    """Training was stopped by the user after a checkpoint was written."""


@contextmanager
def stop_request(*, once: bool = False) -> Iterator[threading.Event]:
    """An event that the first Ctrl-C sets, so that a step is never cut in half; the second one stops at once.

    Args:
        once: later ones do nothing; ``torchrun`` passes on a Ctrl-C that its processes got already.
    """
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def ask(number: int, frame: object) -> None:
        del number, frame
        if stop.is_set() and not once:
            raise KeyboardInterrupt
        stop.set()

    before = signal.signal(signal.SIGINT, ask)
    try:
        yield stop
    finally:
        signal.signal(signal.SIGINT, before)


SHOWN = "ndcg@5"
"""The metric that is shown when the last epoch is kept whatever its metrics."""


@dataclass(frozen=True)
class Examples:
    """What there is to train on."""

    labelled: Sequence[Query]  # recommendation turns of D_F
    states: Sequence[BeliefState]  # the gold state of each, as of the user's last turn
    unlabelled: Sequence[Query]  # recommendation turns of D_P, which holds D_F's dialogues with their labels hidden
    valid: Sequence[Query]  # recommendation turns to select on; may be empty


@dataclass(frozen=True)
class Trained:
    """How training went."""

    epochs: int  # epochs trained, over all sittings
    best_epoch: int  # the epoch whose weights were kept, from 1
    best: dict[str, float]  # its validation figures; empty without a validation split
    history: list[dict[str, Any]]  # one entry an epoch, as in ``metrics.jsonl``


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


class _Done(NamedTuple):
    """A step whose figures are on their way."""

    step: Step
    number: int  # of its epoch, from 0
    global_number: int  # of the run, from 1
    names: tuple[str, ...]
    rate: float


class Trainer:
    """Trains one model in one run folder.

    Whatever is drawn at random in a step depends on the seed, the epoch, the step and the process alone.

    Args:
        config: all settings; ``model.kind`` says what is trained.
        examples: what to train on.
        corpus: the catalogue.
        words: word pieces, with vectors or without.
        features: the images.
        ontology: the state's slots and their values.
        folder: the run's folder; gets ``metrics.jsonl``, ``tensorboard``, ``checkpoints`` and ``model``.
        seed: of the weights, the order, the candidates and the dropout.
        device: where to compute; None: a GPU when there is one.
        processes: those that train together; the first one writes.
        fitted: what the model learns of the corpus beside its weights; None: it is learned now, if there is any.

    Raises:
        UsageError: there is nothing to train on.
    """

    def __init__(
        self,
        config: Config,
        examples: Examples,
        corpus: Corpus,
        *,
        words: Vocabulary,
        features: Features,
        ontology: Ontology,
        folder: Path,
        seed: int,
        device: torch.device | None = None,
        progress: Progress | None = None,
        processes: Processes | None = None,
        fitted: Fitted | None = None,
    ) -> None:
        self.config = config
        self.spec = find_model(config.model.kind)
        self.corpus = corpus
        self.words = words
        self.features = features
        self.folder = folder
        self.seed = seed
        self.progress: Progress = progress or SilentProgress()
        self.device = device or torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.processes = processes or Processes()
        if fitted is None and self.spec.fitted is not None:
            fitted = self.spec.fitted.fit(config, Sources(corpus, ontology))
        self.reader = self.spec.open_reader(config, words, features, ontology, fitted)
        self.reader.progress = self.progress
        self.ontology = ontology
        self.examples = examples
        self.queries: dict[Part, Sequence[Query]] = {"D_F": examples.labelled, "D_P": examples.unlabelled}
        self.all_labelled = len(examples.labelled) == len(examples.unlabelled)
        self.labelled_share = len(examples.labelled) / max(1, len(examples.unlabelled))
        if self.all_labelled and config.joint.when_all_labelled == "labelled":
            del self.queries["D_P"]
        self.sizes: dict[Part, int] = {part: len(queries) for part, queries in self.queries.items() if len(queries)}
        if not self.sizes:
            raise UsageError(
                "the training split has no recommendation turns to train on",
                fix="import dialogues in which products are recommended",
            )
        self.contexts = {part: self.reader.contexts(self.queries[part]) for part in self.sizes}
        states = self.reader.states(examples.states)
        self.states = None if states is None else moved(states, self.device)
        self.valid = self.reader.contexts(examples.valid)
        self.products = moved(self.reader.products(corpus.products), self.device)
        torch.manual_seed(seed)
        self.model: Any = fresh_model(self.spec, config, words, self.reader, corpus.products).to(self.device)
        self.precision = precision_of(config, self.device)
        if config.train.compile:
            self.progress.log(compile_stacks(self.model, self.device))
        self.split_model = SplitModel(self.model, self.processes) if self.processes.count > 1 else self.model
        self.optimizer = ScheduledAdam(config, self.model, self.processes)
        self.steps_an_epoch = len(self._steps(0))
        self.ranker = NetworkRanker(self.model, self.reader, self.spec.with_remark(self.spec.title, config))
        self.metrics_log = MetricsLog(folder, first=self.processes.first)
        self.state = _Progress()
        self.pending_metrics: AsyncMetrics[_Done] = AsyncMetrics(self.device)

    @property
    def last(self) -> Path:
        """The checkpoint to resume from."""
        return self.folder / "checkpoints" / "last.safetensors"

    @property
    def best(self) -> Path:
        """Weights of the best epoch."""
        return self.folder / "checkpoints" / "best.safetensors"

    def restore(self) -> None:
        """Resume from the run's checkpoint, that of the first process; without one, from the start.

        Raises:
            ModelError: a checkpoint that cannot be used.
        """
        with self.processes.file_of_first(self.last) as checkpoint:
            if checkpoint is None:
                return
            found = load_checkpoint(checkpoint, self.model, self.optimizer.adam)
            with taken_apart(self.last, error=ModelError, what="not a checkpoint", fix="train again"):
                self.state = TypeAdapter(_Progress).validate_python(found)

    def fit(self) -> Trained:
        """Train to the last epoch, or until patience is out; writes ``model`` from the best epoch's weights.

        Raises:
            Interrupted: stopped by Ctrl-C; a checkpoint holds everything up to the last step.
            ModelError: a loss or a gradient is not a number; names the batch.
        """
        train = self.config.train
        total = train.epochs * self.steps_an_epoch
        self.processes.spread(self.model)
        missing = self.metrics_log.open(self.state.global_step)
        if missing:
            self.progress.log(missing)
        try:
            with stop_request(once=self.processes.count > 1) as stop, self.progress.task("training", total) as task:
                task.advance(self.state.epoch * self.steps_an_epoch + self.state.step)
                while self.state.epoch < train.epochs and not self._out_of_patience():
                    self._epoch(task, lambda: self.processes.any(stop.is_set()))
        finally:
            self.metrics_log.close()
        if self.processes.first:
            load_weights(self.best, self.model)
            card = ModelCard(
                self.config,
                self.ontology,
                word_width(self.config, self.words),
                self.features.width,
                self.words.source,
                self.features.source,
                self.features.map_shape,
            )
            save_model(self.folder / "model", self.model, self.reader, card)
        self.processes.spread(self.model)
        return Trained(self.state.epoch, self.state.best_epoch, self.state.best, self.state.history)

    def _out_of_patience(self) -> bool:
        patience = self.config.train.patience
        return bool(patience and self.state.epoch - self.state.best_epoch >= patience and self.state.best)

    def _steps(self, epoch: int) -> list[Step]:
        return epoch_steps(self.config.joint, self.sizes, seed=self.seed, epoch=epoch)

    def _epoch(self, task: Task, stopped: Callable[[], bool]) -> None:
        train, at = self.config.train, self.state
        began, trained = time.perf_counter(), 0
        steps = self._steps(at.epoch)
        for step in steps[at.step :]:
            self.optimizer.set_rate(steps, at.epoch, at.step)
            self._step(step)
            at.step += 1
            at.global_step += 1
            trained += len(step.rows)
            rate = trained / (time.perf_counter() - began)
            self._account(rate)
            task.advance(1, note=self._note(rate))
            if stopped():
                self._save()
                raise Interrupted
            if train.checkpoint_every and at.step % train.checkpoint_every == 0 and at.step < len(steps):
                self._save()
        self._account(trained / (time.perf_counter() - began), every=True)
        self._judge(began, trained)

    def _judge(self, began: float, trained: int) -> None:
        """End an epoch: validate, keep it if it is the best, write it down."""
        train, at = self.config.train, self.state
        rate = trained / (time.perf_counter() - began)
        valid = validate(self.split_model, self.ranker, self.examples.valid, self.valid, self.products, self.processes)
        at.epoch += 1
        at.step = 0
        means = {name: total / count for name, (total, count) in sorted(at.sums.items())}
        at.sums = {}
        line: dict[str, Any] = {"epoch": at.epoch, "step": at.global_step, **means, **valid}
        at.history.append(line)
        if is_better(train.select, valid, at.best):
            at.best_epoch, at.best = at.epoch, valid
            if self.processes.first:
                save_weights(self.best, self.model)
        seconds = time.perf_counter() - began
        self.metrics_log.write(kind="epoch", **line, seconds=round(seconds, 3), examples_per_second=round(rate, 1))
        self._save()
        shown = train.select if train.select in valid else SHOWN
        figure = f"valid {shown} {100 * valid[shown]:.2f}" if valid else "no validation split"
        losses = " ".join(f"{name} {value:.3f}" for name, value in means.items() if name.endswith(".loss"))
        self.progress.log(
            f"epoch {at.epoch}/{train.epochs}: {losses}  {figure}  (best: {at.best_epoch})  "
            f"{rate:.0f} examples/s  {seconds:.1f} s"
        )

    def _step(self, step: Step) -> None:
        train, at = self.config.train, self.state
        self.model.train()
        set_precision(self.model, self.precision)
        torch.manual_seed(_mixed(self.seed, at.epoch, at.step, self.processes.rank))
        queries = [self.queries[step.part][row] for row in step.rows.tolist()]
        drawn = sample(queries, train, len(self.corpus.products), seed=self.seed, epoch=at.epoch, step=at.step)
        choices = drawn.choices.to(self.device)
        batch = self.contexts[step.part].batch(step.rows, self.device)
        products, states = self.products, None
        if drawn.products is not None:
            rows = to_device(drawn.products, self.device)
            products = map_rows(lambda part: part[rows], products)
        if step.part == "D_F":
            rows = to_device(step.rows, self.device)
            states = map_rows(lambda part: part[rows], self.states)
        teacher_only = self.all_labelled and at.epoch < self.config.joint.teacher_warmup_epochs
        with torch.autocast(self.device.type, enabled=False):  # keeps what stacks cast until the step ends
            encoded = self.split_model.encode_products(products)
            step_batch = StepBatch(batch, states, encoded, choices, teacher_only, self.labelled_share)
            objective = self.spec.objective(self.split_model, step_batch)
        norm = self.optimizer.step(objective.total, step)
        set_precision(self.model, "float32")  # for validation, so that it says what `semctl evaluate` will
        figures = {"loss": objective.total, **objective.terms, "gradient": norm}
        values = torch.stack([value.detach().float() for value in figures.values()])
        about = _Done(step, at.step, at.global_step + 1, tuple(figures), self.optimizer.rate)
        self.pending_metrics.put(about, values)

    def _account(self, rate: float, *, every: bool = False) -> None:
        """Take in the figures of steps that have come back from the device."""
        at = self.state
        for done, values in self.pending_metrics.take(every=every):
            figures = dict(zip(done.names, values, strict=True))
            if not all(map(isfinite, values)):
                raise self._not_a_number(done, figures)
            for name, value in figures.items():
                if name != "gradient":
                    entry = at.sums.setdefault(f"{done.step.part}.{name}", [0.0, 0])
                    entry[0] += value
                    entry[1] += 1
            if done.global_number % self.config.train.log_every == 0:
                line: dict[str, Any] = {"epoch": at.epoch + 1, "step": done.global_number, "part": done.step.part}
                line |= {"learning_rate": done.rate, **figures, "examples_per_second": round(rate, 1)}
                self.metrics_log.write(kind="step", **line)

    def _not_a_number(self, done: _Done, figures: dict[str, float]) -> ModelError:
        bad = [name for name, value in figures.items() if name not in ("loss", "gradient") and not isfinite(value)]
        first = self.queries[done.step.part][int(done.step.rows[0])]
        what = "the gradient" if isfinite(figures["loss"]) else "the loss"
        return ModelError(
            f"{what} is not a number" + (f" in {', '.join(bad)}" if bad else ""),
            where=f"epoch {self.state.epoch + 1}, step {done.number + 1}, {done.step.part}, "
            f"a batch of {len(done.step.rows)} beginning with dialogue {first.dialogue_id}, turn {first.turn}",
            fix="train with a lower train.learning_rate or train.clip",
        )

    def _note(self, rate: float) -> str:
        at = self.state
        means = {name: total / count for name, (total, count) in sorted(at.sums.items())}
        best = next(
            (f" best {100 * at.best[name]:.1f}" for name in (self.config.train.select, SHOWN) if name in at.best), ""
        )
        losses = " ".join(
            f"{name.removesuffix('.loss')} {value:.2f}" for name, value in means.items() if ".loss" in name
        )
        terms = " ".join(f"{name} {value:.2f}" for name, value in means.items() if ".loss" not in name)
        return f"epoch {at.epoch + 1}{best} {rate:.0f}/s {losses} ({terms})"

    def _save(self) -> None:
        self._account(0.0, every=True)
        if self.processes.first:
            save_checkpoint(self.last, self.model, self.optimizer.adam, vars(self.state))
        self.processes.wait()


def _mixed(*numbers: int) -> int:
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0])


def load_ranker(run_folder: Path, corpus: Corpus, *, cache: Path | None = None) -> NetworkRanker:
    """The trained ranker of a run, ready to score this corpus.

    Args:
        run_folder: a run's folder, with ``model`` in it.
        corpus: the images it may look at.
        cache: folder of the image features; None: ``features`` of the workspace that the run lies in.

    Raises:
        ModelError: files missing, cut off or that do not fit together.
        MissingPartError: the image encoder's weights are not here.
    """
    folder = run_folder / "model"
    card = read_card(folder)
    if cache is None and run_folder.parent.name == "runs":
        cache = run_folder.parent.parent / "features"
    features = load_features(card.config.image, corpus.image_files, hashes=corpus.image_hashes, cache=cache)
    return saved_ranker(folder, features, corpus, card)


def saved_ranker(folder: Path, features: Features, corpus: Corpus, card: ModelCard) -> NetworkRanker:
    """The trained ranker of a folder of weights, on a GPU where there is one.

    Args:
        folder: ``model`` of a run.
        features: the images of the corpus it is used on.
        corpus: that corpus.
        card: of the folder.

    Raises:
        ModelError: files missing, cut off or that do not fit together.
    """
    model, reader = load_model(folder, features, corpus, card)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    spec = find_model(card.config.model.kind)
    return NetworkRanker(model.to(device), reader, spec.with_remark(spec.title, card.config))


def word_width(config: Config, words: Vocabulary) -> int:
    """Width of the word vectors: of those that came along, else the model's."""
    return config.model.width if words.vectors is None else words.vectors.shape[1]


def fresh_model(spec: ModelSpec, config: Config, words: Vocabulary, reader: Reader, products: Sequence[Product]) -> Any:
    """A network with its pre-trained parts taken over, features of mean zero and spread one.

    Args:
        products: the catalogue, whose images' features are taken as the measure.

    Raises:
        MissingPartError: weights that are not here; lists the ways out.
        ModelError: weights that do not fit.
    """
    features = reader.features
    sizes = Sizes(words.size, word_width(config, words), features.width, reader, features.map_shape)
    model = spec.build(config, sizes)
    for part in list(model.modules()):
        if isinstance(part, FromWords):
            part.start_from(words)
        if isinstance(part, FineTuned) and reader.features.rows:  # without any image, no weights are needed
            part.start()
        if isinstance(part, StandardizedImages) and config.image.standardize:
            rows = reader.image_rows(products)
            part.standardize(torch.from_numpy(reader.features.gather(rows[rows != NO_IMAGE])))
    return model
