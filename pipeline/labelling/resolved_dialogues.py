"""All annotations of a workspace, resolved dialogue by dialogue, as the last ingest left them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from annotate.annotations.annotation import read_annotations
from annotate.annotations.dialogue_index import read_dialogue_index
from annotate.annotations.migration import Migration
from annotate.exports.annotation_store import AnnotationStore
from annotate.resolution.policies import PolicyName
from annotate.resolution.resolve import Resolution, resolve
from pipeline.labelling.resolution_policy import policy_of
from pipeline.workspace import Workspace
from schemas.errors import WorkspaceError
from schemas.ontology import Ontology
from schemas.progress import Progress


@contextmanager
def resolved_dialogues(
    workspace: Workspace, ontology: Ontology, policy: PolicyName, progress: Progress
) -> Iterator[Callable[[], Iterator[tuple[str, Resolution]]]]:
    """The block gets a function that goes through the annotations, which stay out of memory, dialogue by dialogue."""
    if not workspace.annotations.is_file():
        raise WorkspaceError(
            "there are no annotations yet", where=workspace.annotations, fix="run `semctl ingest-labels` first"
        )
    index = read_dialogue_index(workspace.turns, with_hashes=False)
    with AnnotationStore() as store:
        store.load(read_annotations(workspace.annotations))
        migration = Migration(ontology)
        chosen = policy_of(policy, migration.dialogues(store.by_dialogue()), index, ontology, progress)

        def each() -> Iterator[tuple[str, Resolution]]:
            for dialogue_id, said in migration.dialogues(store.by_dialogue()):
                dialogue = index.get(dialogue_id)
                if dialogue is not None and dialogue.user_turns:
                    yield dialogue_id, resolve(said, dialogue.user_turns, ontology, chosen)

        yield each
