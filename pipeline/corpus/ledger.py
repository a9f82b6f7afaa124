"""The ledger of an import: in = kept + dropped, and every drop has a reason."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from schemas.errors import CheckError


class LedgerLine:
    """One kind of thing: how many came in, how many were kept, and why the others were not."""

    def __init__(self) -> None:
        self.received = 0
        self.kept = 0
        self.dropped: Counter[str] = Counter()

    def keep(self, n: int = 1) -> None:
        """``n`` came in and are kept."""
        self.received += n
        self.kept += n

    def drop(self, reason: str, n: int = 1) -> None:
        """``n`` came in and are dropped for ``reason``."""
        if n:
            self.received += n
            self.dropped[reason] += n

    def take_back(self, reason: str, n: int = 1) -> None:
        """``n`` that counted as kept turn out to be dropped for ``reason``."""
        if n:
            self.kept -= n
            self.dropped[reason] += n

    def add(self, other: Mapping[str, Any]) -> None:
        """Take in what another line counted, in the form of :meth:`as_json`."""
        self.received += other["in"]
        self.kept += other["kept"]
        self.dropped.update(other["dropped"])

    def clear(self) -> None:
        self.received = self.kept = 0
        self.dropped.clear()

    def as_json(self) -> dict[str, Any]:
        return {"in": self.received, "kept": self.kept, "dropped": dict(sorted(self.dropped.items()))}


LINES = (
    "dialogues utterances texts turns recommendation_turns positives negatives states state_values feedback "
    "product_records product_keys prices attribute_numbers product_values scenes images url_map"
).split()


class Ledger:
    """All lines of one import, in a fixed order.

    dialogues: dialogue files (or entries); utterances: elements of them; texts: what is said in these
    where it is neither a text nor a number; turns: utterances that became a merged turn
    (``dropped`` are those merged into the one before); recommendation_turns: merged system turns that list candidates;
    positives, negatives: references of the recommendation turns kept; states: user turns that carry a state;
    state_values: (slot, value) pairs in them; feedback: liked or disliked slots of products pointed at;
    product_records: catalogue records; product_keys: names in them that are no attribute of their own, as another is
    the same or spelled differently, or as they have no letter; product_values: values of their attributes; prices:
    products with a price; attribute_numbers: values such as ``1,299`` in columns of numbers, which only the others of
    their column tell how to read; scenes: files of scenes that dialogues name; images: distinct images referred to;
    url_map: lines of ``url2img.txt``.
    """

    def __init__(self) -> None:
        self.lines = {name: LedgerLine() for name in LINES}

    def __getitem__(self, name: str) -> LedgerLine:
        return self.lines[name]

    def check(self) -> None:
        """Hold in = kept + dropped."""
        for name, line in self.lines.items():
            if line.received != line.kept + line.dropped.total() or line.kept < 0:
                raise CheckError(
                    f"the import ledger does not add up for {name}: {line.as_json()}", fix="please report this"
                )

    def add(self, other: Mapping[str, Any]) -> None:
        """Take in what another ledger counted, in the form of :meth:`as_json`."""
        for name, line in other.items():
            self.lines[name].add(line)

    def take(self) -> dict[str, Any]:
        """What was counted, as :meth:`as_json` gives it; afterwards all lines are empty."""
        taken = self.as_json()
        for line in self.lines.values():
            line.clear()
        return taken

    def dropped(self) -> dict[str, int]:
        """``line/reason -> n`` over all lines."""
        return {
            f"{name}/{reason}": n for name, line in self.lines.items() for reason, n in sorted(line.dropped.items())
        }

    def as_json(self) -> dict[str, Any]:
        """Every line that anything came in for."""
        return {name: line.as_json() for name, line in self.lines.items() if line.received}
