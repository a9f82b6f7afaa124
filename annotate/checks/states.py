"""Checks of accumulated states against the catalogue and against what is recommended next."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from annotate.checks.catalogue import CatalogueIndex, Wish
from annotate.checks.dialogue import DialogueLabels, TurnLabels
from annotate.checks.findings import Finding
from schemas.mentions import Words, is_negation

_MOST_NAMED = 3
_DECLINING = frozenset(("unfortunately", "sorry", "only", "instead", "afraid"))


def check_states(labels: DialogueLabels, catalogue: CatalogueIndex) -> Iterator[Finding]:
    """``unsatisfiable_state``, ``unavailable``, ``contradicts_recommendation`` and ``outdated_want``.

    A recommendation contradicts a slot when all its products that speak of the slot violate it. It is taken as an
    answer to what the user wants only when the turn before it says something, and when it does not decline first
    ("I have none in blue, but"): then the products are no answer, and the label may well be right. Each state and
    each contradiction is said once, where it begins.
    """
    told: set[object] = set()
    for at in labels.turns:
        if not at.state:
            continue
        answer = _answer(labels, at)
        wishes = catalogue.wishes(at.state)
        if not catalogue.satisfiable(wishes):
            last = {wish.slot: since(at, wish) for wish in wishes}
            together = catalogue.conflict(wishes, last)
            is_worse = answer is not None and (together, "recommended") not in told
            if together not in told or is_worse:
                told |= {together, (together, "recommended")} if answer is not None else {together}
                yield _unsatisfiable(labels, at, together, last, catalogue, answer)
        if answer is not None:
            for wish in wishes:
                found = _contradiction(labels, at, wish, catalogue, answer)
                key = None if found is None else (found.code, wish, since(at, wish))
                if found is not None and key not in told:
                    told.add(key)
                    yield found


def _answer(labels: DialogueLabels, at: TurnLabels) -> tuple[int, Sequence[str]] | None:
    """What is recommended to what a turn asks for; None where nothing is, or something else instead."""
    if at.update is None or not (at.update.want or at.update.dislike):
        return None
    answer = labels.next_recommendation(at.turn)
    if answer is None or declines(labels.said.texts.get(answer[0], "")):
        return None
    return answer


def declines(text: str) -> bool:
    """Whether an answer says that there is nothing of the kind; English only."""
    words = Words.of(text).words
    return any(is_negation(word) or word in _DECLINING for word in words)


def since(at: TurnLabels, wish: Wish) -> int:
    """The turn that last spoke of a slot, of what holds of it."""
    return max(turn for (slot, _), turn in at.since.items() if slot == wish.slot)


def _unsatisfiable(
    labels: DialogueLabels,
    at: TurnLabels,
    together: tuple[Wish, ...],
    last: Mapping[str, int],
    catalogue: CatalogueIndex,
    answer: tuple[int, Sequence[str]] | None,
) -> Finding:
    said = " and ".join(f"{_words(catalogue, wish)} (turn {last[wish.slot]})" for wish in together)
    detail = f"no product is {said}"
    oldest = min(together, key=lambda wish: (last[wish.slot], wish.slot))
    # nobody can recommend what there is not: the state says more than the user asked for
    if answer is None:
        return labels.finding("unavailable", detail, at, slot=oldest.slot)
    suggestion = f"drop={oldest.slot}" if last[oldest.slot] < at.turn else None
    detail += f", yet turn {answer[0]} recommends {_named(answer[1])}"
    return labels.finding("unsatisfiable_state", detail, at, slot=oldest.slot, suggestion=suggestion)


def _contradiction(
    labels: DialogueLabels, at: TurnLabels, wish: Wish, catalogue: CatalogueIndex, answer: tuple[int, Sequence[str]]
) -> Finding | None:
    turn, products = answer
    speaking = [product for product in products if catalogue.values(product, wish.slot)]
    wrong = [product for product in speaking if catalogue.violates(product, wish)]
    if not wrong or len(wrong) < len(speaking):
        return None
    is_missing = bool(wish.wanted) and catalogue.values(wrong[0], wish.slot).isdisjoint(wish.wanted)
    side, how = (wish.wanted, "is wanted") if is_missing else (wish.avoided, "is to be avoided")
    said_at = since(at, wish)
    have = "; ".join(f"{product} is {_all(catalogue, product, wish.slot)}" for product in wrong[:_MOST_NAMED])
    more = f" and {len(wrong) - _MOST_NAMED} more" if len(wrong) > _MOST_NAMED else ""
    detail = f"{_words(catalogue, wish)} {how} since turn {said_at}, turn {turn} recommends: {have}{more}"
    if said_at == at.turn:
        return labels.finding("contradicts_recommendation", detail, at, slot=wish.slot, value=", ".join(side))
    suggestion = f"drop={wish.slot}"
    return labels.finding("outdated_want", detail, at, slot=wish.slot, value=", ".join(side), suggestion=suggestion)


def _words(catalogue: CatalogueIndex, wish: Wish) -> str:
    wanted = " or ".join(catalogue.spelled(wish.slot, value) for value in wish.wanted)
    avoided = " nor ".join(catalogue.spelled(wish.slot, value) for value in wish.avoided)
    parts = [f"{wish.slot}={wanted}"] if wanted else []
    return ", ".join([*parts, *([f"{wish.slot} not {avoided}"] if avoided else [])])


def _all(catalogue: CatalogueIndex, product: str, slot: str) -> str:
    return ", ".join(catalogue.spelled(slot, value) for value in sorted(catalogue.values(product, slot)))


def _named(products: Sequence[str]) -> str:
    more = f" and {len(products) - _MOST_NAMED} more" if len(products) > _MOST_NAMED else ""
    return ", ".join(products[:_MOST_NAMED]) + more
