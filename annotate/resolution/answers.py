"""Which answers of people count, annotator by annotator: what agreement compares and adjudication resolves.

Of several versions of one annotation the newest counts, and a withdrawn one not at all. Where an annotator answered a
turn more than once, in whatever project, the newest answer stands; of several answers to one task only the newest
counts, so that a turn refused in it does not bring an older answer back.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from annotate.annotations import Annotation, Mark

__all__ = ["Answer", "newest_versions", "people_answers", "standing_annotations", "verdicts"]


@dataclass(frozen=True)
class Answer:
    """What one annotator says of one user turn.

    Attributes:
        marks: everything marked at the turn; one ``none`` for a turn that changes nothing.
        annotation: where it is from.
    """

    marks: tuple[Mark, ...]
    annotation: Annotation


def newest_versions(annotations: Iterable[Annotation]) -> list[Annotation]:
    """The newest version of each annotation, sorted by key, without those withdrawn."""
    newest: dict[str, Annotation] = {}
    for annotation in sorted(annotations, key=lambda each: each.key):
        newest[annotation.annotation_id] = annotation
    return [annotation for annotation in newest.values() if not annotation.is_withdrawn]


def people_answers(annotations: Iterable[Annotation]) -> dict[str, dict[int, Answer]]:
    """Annotator -> user turn -> answer, for all annotations of one dialogue; verdicts and the corpus left out."""
    return _by_annotator(each for each in newest_versions(annotations) if not each.is_corpus and each.role == "label")


def verdicts(annotations: Iterable[Annotation]) -> dict[int, Answer]:
    """User turn -> the newest verdict on it, for all annotations of one dialogue."""
    given: dict[int, Answer] = {}
    for answers in _by_annotator(each for each in newest_versions(annotations) if each.role == "review").values():
        for turn, answer in answers.items():
            if turn not in given or _age(given[turn].annotation) < _age(answer.annotation):
                given[turn] = answer
    return given


def standing_annotations(annotations: Iterable[Annotation], user_turns: Collection[int]) -> list[Annotation]:
    """The annotations that count, of all versions of all annotations of one dialogue, sorted by key.

    Those of people where there are any, and verdicts; else those of the corpus.
    """
    counting = newest_versions(annotations)
    of_people = list(people_answers(counting).values())
    spoken = [
        answer for answers in [*of_people, verdicts(counting)] for turn, answer in answers.items() if turn in user_turns
    ]
    standing = {answer.annotation.key: answer.annotation for answer in spoken}
    standing = standing or {each.key: each for each in counting if each.is_corpus}
    return [standing[key] for key in sorted(standing)]


def _by_annotator(annotations: Iterable[Annotation]) -> dict[str, dict[int, Answer]]:
    found: dict[str, dict[int, Answer]] = {}
    for annotation in _newest_of_each_task(annotations):
        answers = found.setdefault(annotation.annotator, {})
        answers |= {turn: Answer(tuple(marks), annotation) for turn, marks in annotation.turns().items()}
    return {annotator: dict(sorted(found[annotator].items())) for annotator in sorted(found)}


def _newest_of_each_task(annotations: Iterable[Annotation]) -> list[Annotation]:
    """One annotation per annotator and task, oldest first; those of no known task are tasks of their own."""
    newest: dict[tuple[str, ...], Annotation] = {}
    for annotation in sorted(annotations, key=_age):
        task = annotation.task_uid
        of: tuple[str, ...]
        of = (annotation.annotation_id,)
        if task is not None:  # tasks of two servers and projects may have one uid
            of = (annotation.server or "", annotation.project or "", task, annotation.annotator)
        newest[of] = annotation
    return sorted(newest.values(), key=_age)


def _age(annotation: Annotation) -> tuple[str, str]:
    return annotation.updated_at, annotation.annotation_id
