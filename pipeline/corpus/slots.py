"""Which product attribute a corpus's state slot means.

In this order: the very name, the table :data:`SLOT_ATTRIBUTES`, then the same name however it is spelled, then (only
for slots that these do not settle, once all dialogues are read) the attribute that has the slot's values. Where the
catalogue has singular and plural of a name as two attributes, the values that are said decide. A slot that none of
these settles stays a slot of its own without catalogue values; the import says so.
"""

from __future__ import annotations

import tomllib
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from pipeline.corpus.catalogue import name_key
from pipeline.corpus.parsing import snake_case
from schemas.folding import fold, fold_name

SLOT_ATTRIBUTES: Mapping[str, Sequence[str]] = tomllib.loads(
    Path(__file__).with_name("slot_attributes.toml").read_text("utf-8")
)
"""Slot as corpora name it (in snake case) -> attributes it can mean, the best first."""

_REMEMBERED_VALUES = 500
_ENOUGH_OVERLAP = 0.5


Said = tuple[str, Sequence[str], int]
"""A slot by its name in the corpus, values said of it, and how often that was."""


class SlotKeys:
    """One key for all of a corpus's names of one slot."""

    def __init__(self, attributes: Iterable[str]) -> None:
        names = sorted(attributes, reverse=True)
        # singular and plural may be two attributes: the very name comes first
        self._attributes = {name_key(name): name for name in names} | {fold_name(name): name for name in names}
        self._keys: dict[str, tuple[str, str]] = {}
        self._settled: set[str] = set()

    def key(self, name: str) -> str:
        """The key of a slot name: the attribute it means, else the name as names are compared; "" for no name."""
        return self._known(name)[0]

    def _known(self, name: str) -> tuple[str, str]:
        found = self._keys.get(name)
        if found is None:
            spelling = name.partition(">>")[0].replace("=", " ").strip().strip("!").strip()
            found = self._keys[name] = (self._find(spelling), spelling)
        return found

    def _find(self, name: str) -> str:
        snake = snake_case(name)
        exact = self._attributes.get(fold_name(snake))
        if exact is not None and fold_name(exact) == fold_name(snake):
            self._settled.add(exact)
            return exact
        for candidate in (*SLOT_ATTRIBUTES.get(snake, ()), snake):
            attribute = self._attributes.get(fold_name(candidate)) or self._attributes.get(name_key(candidate))
            if attribute is not None:
                self._settled.add(attribute)
                return attribute
        return name_key(snake)


class CorpusSlots(SlotKeys):
    """Collects the slots that a corpus's states use."""

    def __init__(self, attributes: Iterable[str]) -> None:
        super().__init__(attributes)
        self.spellings: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self.said: defaultdict[str, Counter[str]] = defaultdict(Counter)

    def hear(self, said: Iterable[Said]) -> None:
        for name, values, times in said:
            self.count(name, times)
            if values:
                self.say(self.key(name), values, times)

    def count(self, name: str, times: int = 1) -> None:
        key = self.key(name)
        if key:
            self.spellings[key][self._known(name)[1]] += times

    def say(self, key: str, values: Sequence[str], times: int = 1) -> None:
        """Remember values said of a slot, up to a bounded number of different ones."""
        said = self.said[key]
        for value in values:
            folded = fold(value)
            if folded in said or len(said) < _REMEMBERED_VALUES:
                said[folded] += times

    def attribute_of(self, values_of: Mapping[str, Iterable[str]]) -> dict[str, str | None]:
        """The attribute of every slot key that occurred; None where the catalogue has none for it."""
        folded = {name: {fold(value) for value in values} for name, values in sorted(values_of.items())}
        found: dict[str, str | None] = {
            key: self._of_its_number(key, folded) for key in self.spellings if key in self._settled
        }
        for key in sorted(self.spellings):
            if key in found:
                continue
            said = self.said[key]
            best, share = None, 0.0
            for name, known in folded.items():
                if name in found.values():
                    continue
                hit = _share(said, known)
                if hit > share:
                    best, share = name, hit
            found[key] = best if share >= _ENOUGH_OVERLAP else None
        return found

    def _of_its_number(self, key: str, values_of: Mapping[str, set[str]]) -> str:
        """The attribute, or the one that is its singular or plural where no slot is called so and it has more of what
        is said: users say "embellishment", and the catalogue has the values in ``embellishments``."""
        alike = [name for name in values_of if name_key(name) == name_key(key) and name not in self.spellings]
        said = self.said[key]
        return max((key, *alike), key=lambda name: (_share(said, values_of.get(name, set())), name == key))

    def is_taken(self, name: str, attribute: str) -> bool:
        """Whether a slot's name is that of another attribute than its own."""
        named = self._attributes.get(fold_name(name))
        return named is not None and named != attribute and fold_name(named) == fold_name(name)

    def name_of(self, key: str) -> str:
        """The commonest spelling of a slot in the corpus."""
        return min(self.spellings[key].items(), key=lambda item: (-item[1], item[0]))[0]


def _share(said: Counter[str], known: set[str]) -> float:
    """How much of what is said is known."""
    return sum(n for value, n in said.items() if value in known) / max(said.total(), 1)
