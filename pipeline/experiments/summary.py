"""What a grid says: means over seeds or folds with their spread, differences query by query, and the tables of it."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from scipy.special import stdtrit

from schemas.json_form import json_form
from schemas.state_metrics import StateCounts
from semantic_model.evaluation.evaluation import Evaluation
from semantic_model.evaluation.metrics import Interval, bootstrap_intervals
from semantic_model.ranking.model_spec import REIMPLEMENTED

if TYPE_CHECKING:
    import pandas as pd

SELECT = "ndcg@5"

COST = {
    "parameters": "parameters",
    "seconds": "training, s",
    "evaluation_seconds": "evaluation, s",
    "examples_per_second": "examples/s",
}
"""What a run takes -> the heading of its column."""


_STATE_HEADINGS = {"slot_f1": "slot F1", "value_f1": "value F1", "jga": "joint goal accuracy"}


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
        return {**vars(self), "interval": self.interval and list(self.interval)}


def _spreads(table: pd.DataFrame) -> dict[str, Spread]:
    """Mean, standard deviation and interval of each column."""
    n = len(table)
    halves = table.sem() * float(stdtrit(n - 1, 0.975))
    figures = zip(table, table.mean().tolist(), table.std().tolist(), halves.tolist(), strict=True)
    return {
        name: Spread(mean, std, Interval(mean - half, mean + half), n) if n > 1 else Spread(mean, None, None, n)
        for name, mean, std, half in figures
    }


@dataclass(frozen=True)
class Part:
    """One measurement that a row is made of: a run's, or a floor's on one fold."""

    run: str | None  # the run's id; None of a floor
    seed: int | None  # None of a floor
    fold: int | None  # number of the fold; None on the corpus's own splits
    evaluation: Evaluation  # its figures
    # best_epoch, seconds, parameters, examples_per_second: of training; None of a floor
    best_epoch: int | None = None
    seconds: float | None = None
    parameters: int | None = None
    examples_per_second: float | None = None
    evaluation_seconds: float | None = None  # of encoding and ranking; None of a floor
    # words, images: where word pieces and image features are from, for people; empty of a floor
    words: str = ""
    images: str = ""
    labelled: int | None = None  # dialogues whose labels were used; None of a floor
    states: StateCounts | None = None  # how it reads states; None where it reads none


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
    reimplemented: bool = False  # as of :class:`pipeline.experiments.grid.Row`
    remark: str = ""  # likewise
    states: dict[str, Spread] = field(default_factory=dict)  # slot_f1, value_f1, jga; empty where it reads no states

    @property
    def cost(self) -> dict[str, float | None]:
        """What a run takes, on average: the names of :data:`COST`."""
        found: dict[str, float | None] = {}
        for name in COST:
            known = [value for part in self.parts if (value := getattr(part, name)) is not None]
            found[name] = statistics.fmean(known) if known else None
        return found

    def measure(self, name: str) -> Spread | None:
        """Its figure of that name, of ranking or of states; None where it has none."""
        return self.figures.get(name) or self.states.get(name)

    @property
    def shown(self) -> str:
        """Its name in tables, with the mark of what was re-implemented, or is a stand-in."""
        return self._marked(self.name)

    @property
    def shown_label(self) -> str:
        """Its label in tables, marked likewise."""
        return self._marked(self.label)

    def _marked(self, name: str) -> str:
        marked = f"{name} {REIMPLEMENTED}" if self.reimplemented else name
        return f"{marked} ({self.remark.partition(':')[0]})" if self.remark else marked

    def as_json(self) -> dict[str, Any]:
        """The JSON form; figures are fractions of 1."""
        return {
            **json_form(self, "parts", "folds", "against"),
            **self.cost,
            "queries": len({query for part in self.parts for query in part.evaluation.queries}),
            "folds": {
                str(fold): {name: found.as_json() for name, found in figures.items()}
                for fold, figures in self.folds.items()
            },
            "against": self.against and {"difference": self.against[0], "interval": list(self.against[1])},
            "runs": [
                {
                    **json_form(part, "evaluation", "states"),
                    **part.evaluation.means,
                    **({} if part.states is None else part.states.means),
                }
                for part in self.parts
            ],
        }


def summarise(
    name: str,
    ratio: float | None,
    label: str,
    parts: Sequence[Part],
    *,
    floor: bool = False,
    reimplemented: bool = False,
) -> RowSummary:
    """Put the measurements of a row together."""
    import pandas as pd

    table = pd.DataFrame([part.evaluation.means for part in parts])
    by_fold = table.groupby(pd.Series([part.fold for part in parts], dtype="Int64"))  # those without are in no group
    folds = {int(fold): _spreads(found) for fold, found in by_fold}
    figures = _spreads(by_fold.mean() if folds else table)
    read = [(part.fold, part.states.means) for part in parts if part.states is not None]
    states = pd.DataFrame([means for _, means in read]).dropna(axis="columns")
    if folds and len(states):
        states = states.groupby([fold for fold, _ in read]).mean()
    return RowSummary(
        name,
        ratio,
        label,
        floor,
        tuple(parts),
        figures,
        folds,
        reimplemented=reimplemented,
        states=_spreads(states) if len(states.columns) else {},
    )


def label_heading(name: str) -> str:
    """A measure's name for people: ``ndcg@5`` is NDCG@5, ``jga`` joint goal accuracy."""
    return _STATE_HEADINGS.get(name) or name.replace("precision", "Precision").replace("recall", "Recall").replace(
        "ndcg", "NDCG"
    )


def compare(row: RowSummary, other: RowSummary, metric: str = SELECT) -> tuple[float, Interval]:
    """How much better a row is than another: each query's mean over seeds, paired, whole dialogues drawn again.

    Returns:
        The mean difference and its 95 % bootstrap interval. It says how far other dialogues would move it.

    Raises:
        ValueError: the rows were not measured on the same queries.
    """
    mine, theirs = _per_query(row, metric), _per_query(other, metric)
    if not mine.index.equals(theirs.index):
        raise ValueError(f"'{row.label}' and '{other.label}' were measured on different queries")
    difference = mine - theirs
    dialogues = [dialogue for dialogue, _ in difference.index]
    return float(difference.mean()), bootstrap_intervals({metric: difference.to_numpy()}, dialogues)[metric]


def _per_query(row: RowSummary, metric: str) -> pd.Series:
    """The mean over the parts, by dialogue and turn in order."""
    import pandas as pd

    measured = [
        pd.Series(part.evaluation.per_query[metric], pd.MultiIndex.from_tuples(part.evaluation.queries))
        for part in row.parts
    ]
    return pd.concat(measured).groupby(level=[0, 1]).mean()


def costs(row: RowSummary) -> list[str]:
    """The columns of :data:`COST`."""
    return [
        "" if value is None else f"{value:,.{int(name == 'evaluation_seconds')}f}" for name, value in row.cost.items()
    ]


def percent(found: Spread) -> str:
    """``52.80 ± 0.61``, per cent."""
    return f"{100 * found.mean:.2f}" + ("" if found.std is None else f" ± {100 * found.std:.2f}")


def percent_interval(ends: Interval | None) -> str:
    """``52.0 to 53.6``, per cent."""
    return "" if ends is None else f"{100 * ends.low:.1f} to {100 * ends.high:.1f}"


def markdown(title: str, rows: Sequence[RowSummary], against: str | None, notes: Sequence[str]) -> str:
    """``table.md``: every metric, then fold by fold."""
    import pandas as pd

    table = pd.DataFrame(
        {
            "": row.shown,
            "ratio": "" if row.ratio is None else f"{row.ratio:g}",
            "runs": row.figures[SELECT].n,
            **{name: percent(found) for name, found in row.figures.items()},
            "95 % of ndcg@5": percent_interval(row.figures[SELECT].interval),
            **({f"ndcg@5 against {against}": difference(row)} if against else {}),
            **dict(zip(COST.values(), costs(row), strict=True)),
        }
        for row in rows
    )
    lines = [f"# {title}", "", *_lines(table)]
    folds = pd.DataFrame({fold: percent(found[SELECT]) for fold, found in row.folds.items()} for row in rows)
    if len(folds.columns):
        folds = folds.sort_index(axis=1).add_prefix("fold ").fillna("")
        folds.insert(0, "", [row.shown_label for row in rows])
        lines += ["", "NDCG@5 fold by fold", "", *_lines(folds)]
    return "\n".join([*lines, "", *(f"- {note}" for note in notes)]) + "\n"


def _lines(table: pd.DataFrame) -> list[str]:
    return lines_of_table(list(table), list(table.astype(str).itertuples(index=False)))


def lines_of_table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A table in Markdown."""
    return [f"| {' | '.join(cells)} |" for cells in [headings, ["---"] * len(headings), *rows]]


def difference(row: RowSummary) -> str:
    """``+4.1 (2.0 to 6.2)``, points."""
    if row.against is None:
        return ""
    return f"{100 * row.against[0]:+.1f} ({percent_interval(row.against[1])})"


def by_label(rows: Sequence[RowSummary]) -> Mapping[str, RowSummary]:
    """Rows by label, and by name where that leaves no doubt."""
    names = [row.name for row in rows]
    return {row.name: row for row in rows if names.count(row.name) == 1} | {row.label: row for row in rows}
