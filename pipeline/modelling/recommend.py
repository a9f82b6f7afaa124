"""``semctl recommend``: the best products of the whole catalogue for one dialogue, as far as it has come."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.modelling.conversation import dialogue_of_corpus
from pipeline.modelling.recommender import Recommendation, Recommender
from pipeline.workspace import Workspace
from schemas.errors import UsageError
from schemas.progress import Progress


@dataclass(frozen=True)
class RecommendRequest:
    """What to recommend products for.

    Raises:
        UsageError: ``top`` below 1.
    """

    dialogue: str  # a dialogue's id, or the part after its split when that is unique
    run: str = "latest"  # a run's id, or ``latest``
    turn: int | None = None  # the last merged turn to read, counted from 0; the user's last when left out
    top: int = 10  # how many products
    images: bool = True  # False leaves every image out
    # how exactly the run keeps encoded products: float32, or bfloat16 in half the memory
    product_table: str = "float32"

    def __post_init__(self) -> None:
        if self.top < 1:
            raise UsageError(f"--top must be at least 1, got {self.top}")


def recommend(workspace: Workspace, request: RecommendRequest, *, progress: Progress | None = None) -> Recommendation:
    """Rank the whole catalogue for a dialogue after one of its turns.

    Raises:
        UsageError: a turn that the dialogue does not have.
        CorpusError: no such dialogue; names the nearest.
        WorkspaceError: not a workspace, or nothing was imported.
        ModelError: no such run, or one that cannot be used.
    """
    del progress  # it is too short for a bar
    recommender = Recommender.open(workspace, request.run, images=request.images, product_table=request.product_table)
    conversation = dialogue_of_corpus(recommender.corpus, request.dialogue, request.turn)
    return recommender.recommend([conversation], top=request.top)[0]
