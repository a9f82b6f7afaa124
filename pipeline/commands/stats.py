"""``semctl stats``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.context import JSON_OPTION, opened

if TYPE_CHECKING:
    from pipeline.console import Console
    from pipeline.corpus.stats import WorkspaceStats


def stats(context: typer.Context, as_json: Annotated[bool, JSON_OPTION] = False) -> None:
    """Show the paper's Table 1 for this workspace, and how far slots and values are covered.

    Example: semctl -w work stats
    """
    from pipeline.corpus.stats import workspace_stats

    workspace, console = opened(context, as_json=as_json)
    found = workspace_stats(workspace)
    console.result(found, _show)


def _show(console: Console, found: WorkspaceStats) -> None:
    console.table(
        "Dialogues (Table 1)",
        ["", *(split.split for split in found.splits)],
        [
            ["dialogues", *(split.dialogues for split in found.splits)],
            ["proportion", *(f"{split.proportion:.0%}" for split in found.splits)],
            ["user turns", *(split.user_turns for split in found.splits)],
            ["recommendation turns", *(split.rec_turns for split in found.splits)],
            ["average recommendation turns", *(split.avg_rec_turns for split in found.splits)],
            ["average positive images", *(split.avg_pos_images for split in found.splits)],
            ["average negative images", *(split.avg_neg_images for split in found.splits)],
            ["nearly as in another split", *(found.shared.dialogues.get(split.split, 0) for split in found.splits)],
            ["users' images of another split", *(found.shared.images.get(split.split, 0) for split in found.splits)],
        ],
        caption=_shared(found),
    )
    source = found.labels_from or "no labels yet"
    console.table(
        "Slots",
        ["slot", "attribute", "turns", "of labelled", "values said", "in catalogue", "catalogue values", "of products"],
        [
            [
                slot.slot,
                slot.attribute,
                slot.turns,
                f"{slot.share:.0%}",
                slot.values_said,
                slot.values_known,
                slot.catalogue_values,
                f"{slot.products:.0%}",
            ]
            for slot in found.slots
        ],
        caption=f"{found.labelled_turns:,} labelled turns ({source}); {found.products:,} products",
    )


def _shared(found: WorkspaceStats) -> str | None:
    """What to know of splits that share dialogues."""
    pairs = [f"{one} and {other}" for one, other in found.shared.examples[:3]]
    if not pairs:
        return None
    more = ", ..." if len(found.shared.examples) > len(pairs) else ""
    return f"nearly the same in two splits: {', '.join(pairs)}{more}; figures of a split that shares dialogues flatter"
