"""Checks of how dialogues were answered: blank, missing, unsure and outdated turns, disagreement, haste, remarks."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from itertools import combinations

from annotate.annotations.annotation import Annotation
from annotate.checks.catalogue import CatalogueIndex
from annotate.checks.dialogue import DialogueLabels, TurnLabels
from annotate.checks.findings import Finding
from annotate.resolution.answers import Answer, newest_versions, people_answers
from annotate.tasks.dialogue_tasks import asks_for
from schemas.folding import fold
from schemas.mentions import MentionFinder, Span, Words
from schemas.ontology import Ontology


def check_blanks(labels: DialogueLabels, catalogue: CatalogueIndex, finder: RequestFinder) -> Iterator[Finding]:
    """``blank_turn``: a turn said to change nothing whose text names values that are new.

    A value is not new when the state holds it, or when a product shown or recommended before has it: then the text
    may point at that product. Silent in dialogues in which nothing is marked at all.
    """
    if not any(at.is_readable and not at.is_blank for at in labels.turns):
        return
    for at in labels.turns:
        if not at.is_blank or at.state is None:
            continue
        held = {(item["slot"], fold(item["value"])) for item in at.state}
        products = _shown_before(labels, at.turn, catalogue)
        new = [
            f"{slot}={value}"
            for slot, value in finder.values(labels.said.texts.get(at.turn, ""))
            if (slot, fold(value)) not in held
            and not any(fold(value) in catalogue.values(product, slot) for product in products)
        ]
        if new:
            detail = f"left blank, but the text names {', '.join(new)}"
            yield labels.finding("blank_turn", detail, at, suggestion=new[0] if len(new) == 1 else None)


def _shown_before(labels: DialogueLabels, turn: int, catalogue: CatalogueIndex) -> set[str]:
    said = labels.said
    shown = {catalogue.product_of(image) for at, images in said.shown.items() if at <= turn for image in images}
    listed = {product for at, products in said.recommended.items() if at <= turn for product in products}
    return {product for product in shown if product is not None} | listed


def check_answers(labels: DialogueLabels, seconds_per_turn: float) -> Iterator[Finding]:
    """All other codes of answers; what took less than ``seconds_per_turn`` and was left as it came was not read."""
    yield from _refused(labels)
    yield from _unanswered(labels)
    yield from _disputed(labels)
    yield from _marked(labels)
    yield from _outdated(labels)
    used = {annotation_id for at in labels.turns for annotation_id in at.annotation_ids}
    yield from _reviewed(labels)
    for annotation in labels.resolution.in_force:
        if annotation.role == "review":
            continue
        took = annotation.lead_time
        is_fast = took is not None and took < seconds_per_turn * len(annotation.turns())
        if annotation.untouched:
            if annotation.annotation_id in used:
                what = f"the pre-label of {annotation.prelabel or 'an unknown model'} as it was"
                yield _sent_as_it_came(labels, annotation, what, is_fast=is_fast)
        elif annotation.is_empty and is_fast:
            yield _sent_as_it_came(labels, annotation, "an empty page", is_fast=True)
    here = {at.turn for at in labels.turns}
    for annotation in newest_versions(labels.annotations):
        gone = sorted(set(annotation.turns()) - here)
        if gone:
            detail = f"speaks of turns that are no longer there: {_listed(gone)}"
            yield labels.finding("orphaned", detail, by=[annotation], turn=gone[0])


def _refused(labels: DialogueLabels) -> Iterator[Finding]:
    """Refused answers whose turn nobody else's answer labels, and lines refused in answers that count."""
    unlabelled = {at.turn for at in labels.turns if at.update is None}
    answered = {(each.annotation_id, turn) for each in labels.resolution.in_force for turn in each.turns()}
    for refused in labels.refused:
        in_part = (refused.annotation_id, refused.turn) in answered
        if in_part or (unlabelled if refused.turn is None else refused.turn in unlabelled):
            yield Finding(
                "line_refused" if in_part else "quarantined",
                labels.dialogue_id,
                f"{refused.reason}: {refused.detail}",
                turn=refused.turn,
                annotators=(refused.annotator,) if refused.annotator else (),
                annotation_ids=(refused.annotation_id,) if refused.annotation_id else (),
            )


def _unanswered(labels: DialogueLabels) -> Iterator[Finding]:
    """Turns that people left out of a dialogue they answered otherwise; gaps in a corpus are its own, and those around
    turns that were labelled alone are meant.
    """
    refused = {each.turn for each in labels.refused}
    missing = [at.turn for at in labels.turns if at.update is None and at.turn not in refused]
    # a refused answer without a turn was to all of its task's turns: said there already
    in_force = labels.resolution.in_force
    by_people = any(not each.is_corpus and asks_for(each.task_uid) == "update" for each in in_force)
    if missing and by_people and None not in refused:
        detail = f"{len(missing)} of {len(labels.turns)} turns have no answer: {_listed(missing)}"
        yield labels.finding("missing_window", detail, turn=missing[0])


def _disputed(labels: DialogueLabels) -> Iterator[Finding]:
    """Values that one annotator wants and another dislikes at the same turn, without a verdict on it."""
    decided = {turn.turn for turn in labels.resolution.turns if turn.decided_by == "verdict"}
    by_annotator = people_answers(labels.resolution.in_force)
    for at in labels.turns:
        given = [answers[at.turn] for answers in by_annotator.values() if at.turn in answers]
        if at.turn in decided or len(given) < 2:
            continue
        found: dict[tuple[str, str], list[Annotation]] = {}
        for one, other in combinations([(_sides(answer, labels.ontology), answer) for answer in given], 2):
            for key in sorted(one[0].keys() & other[0].keys()):
                if one[0][key] != other[0][key]:
                    found.setdefault(key, []).extend((one[1].annotation, other[1].annotation))
        for (slot, value), disputing in sorted(found.items()):
            by = {each.key: each for each in disputing}.values()
            known = labels.ontology.slot(slot).find(value)
            detail = (
                f"{slot}={value if known is None else known.value} is wanted by one annotator and disliked by another"
            )
            yield labels.finding("wanted_and_disliked", detail, turn=at.turn, by=by, slot=slot, value=value)


def _sides(answer: Answer, ontology: Ontology) -> Mapping[tuple[str, str], str]:
    sides: dict[tuple[str, str], str] = {}
    for mark in answer.marks:
        slot = None if mark.slot is None else ontology.find(mark.slot)
        if slot is not None and mark.value is not None and mark.op in ("want", "dislike"):
            sides[slot.name, fold(ontology.link(slot, mark.value).value)] = mark.op
    return sides


def _marked(labels: DialogueLabels) -> Iterator[Finding]:
    """What annotators said of a turn or of the dialogue beside its state."""
    for annotation in labels.resolution.in_force:
        for mark in annotation.marks:
            at = _at(labels, mark.turn)
            if mark.op in ("unsure", "bad_turn") and at is not None and not at.is_readable:
                say = "was not sure" if mark.op == "unsure" else "could not label the turn"
                yield labels.finding(mark.op, f"the annotator {say}", by=[annotation], turn=mark.turn)
            elif mark.op == "bad_dialogue":
                yield labels.finding(mark.op, "the annotator calls the dialogue useless", by=[annotation])
            elif mark.op == "images_missing":
                yield labels.finding(mark.op, "the annotator saw no images", by=[annotation])
            elif mark.op == "note" and mark.value:
                yield labels.finding(mark.op, mark.value, by=[annotation], turn=mark.turn)


def _outdated(labels: DialogueLabels) -> Iterator[Finding]:
    """Slots that a change of the ontology left unknown, each once: at the first such turn."""
    refused = {(each.annotation_id, each.turn) for each in labels.refused}
    for annotation in labels.resolution.in_force:
        if asks_for(annotation.task_uid) == "slots":  # which never says anything of the others
            continue
        slots: set[str] = set()
        for mark in annotation.marks:
            if (annotation.annotation_id, mark.turn) in refused:  # unknown for another reason, told as such
                continue
            at = _at(labels, mark.turn)
            if mark.op != "unknown" or mark.slot is None or mark.slot in slots or at is None or at.update is None:
                continue
            if mark.slot in at.update.unknown:
                slots.add(mark.slot)
                detail = f"the ontology changed since: what this says of '{mark.slot}' cannot be told any more"
                yield labels.finding("outdated_answer", detail, by=[annotation], turn=mark.turn, slot=mark.slot)


def _at(labels: DialogueLabels, turn: int) -> TurnLabels | None:
    return next((at for at in labels.turns if at.turn == turn), None)


def _reviewed(labels: DialogueLabels) -> Iterator[Finding]:
    """What reviewers left open, and verdicts on answers that are others by now."""
    for turn in labels.resolution.turns:
        seen = [review for review in labels.resolution.reviews if turn.turn in review.turns()]
        if seen and turn.decided_by == "disputed" and turn.ballots:
            slots = ", ".join(sorted(turn.disputed_slots))
            yield labels.finding("undecided_review", f"still open: {slots}", by=seen[-1:], turn=turn.turn)
        if turn.outdated:
            slots = ", ".join(sorted(slot or "new topic" for slot in turn.outdated))
            detail = f"answers to this turn changed after the verdict on {slots}"
            yield labels.finding("outdated_verdict", detail, by=seen[-1:], turn=turn.turn)


def _sent_as_it_came(labels: DialogueLabels, annotation: Annotation, what: str, *, is_fast: bool) -> Finding:
    turns, took = sorted(annotation.turns()), annotation.lead_time
    time = "" if took is None else f" in {took:.{1 if is_fast else 0}f} s"
    code, first = "untouched_fast" if is_fast else "untouched", turns[0] if turns else None
    return labels.finding(code, f"{what}: {len(turns)} turns{time}", by=[annotation], turn=first)


def _listed(turns: list[int]) -> str:
    shown = ", ".join(map(str, turns[:10]))
    return shown if len(turns) <= 10 else f"{shown} ..."


_SENTENCE = re.compile(r"(?<=[.!?])\s+|[\n;]+")


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


_POINTING = _set("the this that these those both my your its their it they one ones first")
_ASKING = frozenset(("a", "an", "any", "some", "another", "anything", "something", "in", "for", "size"))
_REACH = 4  # words between an article and what it stands before
_LINKS = frozenset(("and", "or"))
_PREDICATE = re.compile(
    r"\b(?:this|that|it|these|those|they|what)(?:'s| is| are|'re)? (?:\w+ ){0,4}an? "
    r"|\b(?:is|was|are) (?:this|that|it|these|they)\b"
    r"|\b(?:what|which) (?:\w+ )?(?:type|kind|style|sort)s?\b|\bhow long\b|\blooks? like\b"
)
_ABOUT = _set(
    "add cart basket bag buy purchase compare compared comparison mean meant referring talking cost costs "
    "price prices priced brand brands makes made"
)
"""Words of sentences about products in sight."""
_HAVING = frozenset(("come", "comes", "available", "have"))
_IN_SIGHT = frozenset(("it", "this", "that", "they", "them", "these", "those", "which"))
_MENDING = frozenset(("but", "though", "instead"))


class RequestFinder:
    """Finds the ontology's values that a text asks for; only those that products have."""

    def __init__(self, ontology: Ontology) -> None:
        known = [(slot, value) for slot in ontology.slots for value in slot.values if value.count]
        self._values = [(slot.name, value.value) for slot, value in known]
        self._finder = MentionFinder(
            (value.spellings for _, value in known), ((slot.name, slot.attribute, *slot.aliases) for slot, _ in known)
        )

    def values(self, text: str) -> list[tuple[str, str]]:
        """Slot and value of everything that a text asks for, each once."""
        found: dict[tuple[str, str], None] = {}
        for sentence in _SENTENCE.split(text):
            words = Words.of(sentence)
            spans = self._finder.spans(words)
            if not spans or _is_about_things_in_sight(words) or _PREDICATE.search(fold(sentence)):
                continue
            before: Span | None = None
            pointed = False
            for span in spans:
                linked = before is not None and set(words.words[before.stop : span.start]) <= _LINKS
                pointed = _points(words, span) or (linked and pointed)
                before = span
                if not pointed:
                    found.update((self._values[column], None) for column in span.columns)
        return list(found)


def _is_about_things_in_sight(words: Words) -> bool:
    said = set(words.words)
    # "does it come in red?" asks for a fact; whoever then wants it says so
    return bool(said & _ABOUT) or bool(said & _HAVING and said & _IN_SIGHT)


def _points(words: Words, span: Span) -> bool:
    """Whether the nearest article or pronoun before a span points at something."""
    for at in range(span.start - 1, max(span.start - 2 - _REACH, -1), -1):
        if words.words[at] in _ASKING or words.words[at] in _MENDING:
            return False
        if words.words[at] in _POINTING:
            return True
    return False
