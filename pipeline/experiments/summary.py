"""What a grid says: means over seeds or folds with their spread, differences query by query, and the tables of it."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import stdtrit

from semantic_model.evaluation.evaluation import Evaluation
from semantic_model.evaluation.metrics import Interval, bootstrap_intervals

SELECT = "ndcg@5"


@dataclass(frozen=True)
class Spread:
    """A mean over repetitions."""

    mean: float  # of the values
    std: float | None  # standard deviation of a sample (n - 1); None of a single value
    # 95 % interval of the mean by Student's t; None of a single value. It says how far other seeds would move the mean,
    # not other dialogues. Over folds it is too narrow: their training parts overlap.
    interval: Interval | None
    n: int  # how many values

    def as_json(self) -> dict[str, Any]:
        """The JSON form."""
        ends = None if self.interval is None else [self.interval.low, self.interval.high]
        return {"mean": self.mean, "std": self.std, "interval": ends, "n": self.n}


def spread(values: Sequence[float]) -> Spread:
    """Mean, standard deviation and interval of some values.

    >>> found = spread([0.50, 0.52, 0.54])
    >>> [round(value, 4) for value in (found.mean, found.std, *found.interval)]
    [0.52, 0.02, 0.4703, 0.5697]
    """
    mean, n = statistics.fmean(values), len(values)
    if n == 1:
        return Spread(mean, None, None, 1)
    std = statistics.stdev(values)
    half = float(stdtrit(n - 1, 0.975)) * std / n**0.5
    return Spread(mean, std, Interval(mean - half, mean + half), n)


@dataclass(frozen=True)
class Part:
    """One measurement that a row is made of: a run's, or a floor's on one fold."""

    run: str | None  # the run's id; None of a floor
    seed: int | None  # None of a floor
    fold: int | None  # number of the fold; None on the corpus's own splits
    evaluation: Evaluation  # its figures
    # best_epoch, seconds: of training; None of a floor
    best_epoch: int | None = None
    seconds: float | None = None


@dataclass(frozen=True)
class RowSummary:
    """One row of the table."""

    # name, ratio, label: as of :class:`pipeline.experiments.grid.Row`; of a floor the label is its name
    name: str
    ratio: float | None
    label: str
    floor: bool  # whether nothing is trained for it
    parts: tuple[Part, ...]  # what it is made of
    figures: dict[str, Spread]  # metric -> over seeds; with folds over folds, each the mean over its seeds
    folds: dict[int, dict[str, Spread]]  # fold -> metric -> over seeds; empty on the corpus's own splits
    # the difference in NDCG@5 from another row, query by query; None without one
    against: tuple[float, Interval] | None = None

    @property
    def seconds(self) -> float | None:
        """Of training a run, on average."""
        known = [part.seconds for part in self.parts if part.seconds is not None]
        return statistics.fmean(known) if known else None

    def as_json(self) -> dict[str, Any]:
        """The JSON form; figures are fractions of 1."""
        return {
            "name": self.name,
            "ratio": self.ratio,
            "label": self.label,
            "floor": self.floor,
            "seconds": self.seconds,
            "queries": len({query for part in self.parts for query in part.evaluation.queries}),
            "figures": {name: found.as_json() for name, found in self.figures.items()},
            "folds": {
                str(fold): {name: found.as_json() for name, found in figures.items()}
                for fold, figures in self.folds.items()
            },
            "against": None
            if self.against is None
            else {"difference": self.against[0], "interval": [self.against[1].low, self.against[1].high]},
            "runs": [
                {
                    "run": part.run,
                    "seed": part.seed,
                    "fold": part.fold,
                    "best_epoch": part.best_epoch,
                    "seconds": part.seconds,
                    **part.evaluation.means,
                }
                for part in self.parts
            ],
        }


def summarise(name: str, ratio: float | None, label: str, parts: Sequence[Part], *, floor: bool = False) -> RowSummary:
    """Put the measurements of a row together."""
    metrics = list(parts[0].evaluation.means)
    by_fold: dict[int, list[Part]] = {}
    for part in parts:
        if part.fold is not None:
            by_fold.setdefault(part.fold, []).append(part)
    folds = {
        fold: {name: spread([part.evaluation.means[name] for part in found]) for name in metrics}
        for fold, found in sorted(by_fold.items())
    }
    figures = {
        name: spread(
            [found[name].mean for found in folds.values()] if folds else [part.evaluation.means[name] for part in parts]
        )
        for name in metrics
    }
    return RowSummary(name, ratio, label, floor, tuple(parts), figures, folds)


def compare(row: RowSummary, other: RowSummary, metric: str = SELECT) -> tuple[float, Interval]:
    """How much better a row is than another: each query's mean over seeds, paired, whole dialogues drawn again.

    Returns:
        The mean difference and its 95 % bootstrap interval. It says how far other dialogues would move it.

    Raises:
        ValueError: the rows were not measured on the same queries.
    """
    mine, theirs = _per_query(row, metric), _per_query(other, metric)
    if mine.keys() != theirs.keys():
        raise ValueError(f"'{row.label}' and '{other.label}' were measured on different queries")
    queries = sorted(mine)
    difference = np.array([mine[query] - theirs[query] for query in queries])
    ends = bootstrap_intervals({metric: difference}, [dialogue for dialogue, _ in queries])[metric]
    return float(difference.mean()), ends


def _per_query(row: RowSummary, metric: str) -> dict[tuple[str, int], float]:
    found: dict[tuple[str, int], list[float]] = {}
    for part in row.parts:
        values: npt.NDArray[np.float64] = part.evaluation.per_query[metric]
        for query, value in zip(part.evaluation.queries, values.tolist(), strict=True):
            found.setdefault(query, []).append(value)
    return {query: statistics.fmean(values) for query, values in found.items()}


def percent(found: Spread) -> str:
    """``52.80 ± 0.61``, per cent."""
    return f"{100 * found.mean:.2f}" + ("" if found.std is None else f" ± {100 * found.std:.2f}")


def percent_interval(ends: Interval | None) -> str:
    """``52.0 to 53.6``, per cent."""
    return "" if ends is None else f"{100 * ends.low:.1f} to {100 * ends.high:.1f}"


def markdown(title: str, rows: Sequence[RowSummary], against: str | None, notes: Sequence[str]) -> str:
    """``table.md``: every metric, then fold by fold."""
    metrics = list(rows[0].figures)
    against_name = [f"ndcg@5 against {against}"] if against else []
    head = ["", "ratio", "runs", *metrics, "95 % of ndcg@5", *against_name, "seconds"]
    lines = [f"# {title}", "", _line(head), _line(["---"] * len(head))]
    for row in rows:
        cells = [row.name, "" if row.ratio is None else f"{row.ratio:g}", str(row.figures[SELECT].n)]
        cells += [percent(row.figures[name]) for name in metrics]
        cells.append(percent_interval(row.figures[SELECT].interval))
        if against:
            cells.append(difference(row))
        lines.append(_line([*cells, "" if row.seconds is None else f"{row.seconds:.0f}"]))
    folds = sorted({fold for row in rows for fold in row.folds})
    if folds:
        lines += ["", "NDCG@5 fold by fold", "", _line(["", *(f"fold {fold}" for fold in folds)])]
        lines.append(_line(["---"] * (len(folds) + 1)))
        for row in rows:
            lines.append(_line([row.label, *(percent(row.folds[f][SELECT]) if f in row.folds else "" for f in folds)]))
    return "\n".join([*lines, "", *(f"- {note}" for note in notes)]) + "\n"


def difference(row: RowSummary) -> str:
    """``+4.1 (2.0 to 6.2)``, points."""
    if row.against is None:
        return ""
    return f"{100 * row.against[0]:+.1f} ({percent_interval(row.against[1])})"


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def by_label(rows: Sequence[RowSummary]) -> Mapping[str, RowSummary]:
    """Rows by label, and by name where that leaves no doubt."""
    names = [row.name for row in rows]
    return {row.name: row for row in rows if names.count(row.name) == 1} | {row.label: row for row in rows}
