"""``semctl checks``."""

from __future__ import annotations

from typing import Annotated

import typer

from pipeline.context import JSON_OPTION, opened


def checks(
    context: typer.Context,
    code: Annotated[str | None, typer.Option(metavar="CODE", help="Only this code, or error, warning or info.")] = None,
    dialogue: Annotated[str | None, typer.Option(metavar="ID", help="Only this dialogue.")] = None,
    limit: Annotated[int, typer.Option("-n", "--limit", min=0, help="Show at most so many; 0 shows all.")] = 50,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 3 when there are errors among them.")] = False,
    as_json: Annotated[bool, JSON_OPTION] = False,
) -> None:
    """Show what the checks of the last ingest found, the worst first, with the text of each turn.

    Example: semctl checks --code near_miss
    """
    from annotate.checks.findings import CODES
    from pipeline.labelling.checks import found_again

    workspace, console = opened(context, as_json=as_json)
    found = found_again(workspace.require(), code=code, dialogue=dialogue, most=limit or None)
    if as_json:
        console.json(found.as_json())
    elif not found.counts:
        console.say("nothing found")
    else:
        rows = [(name, CODES[name].severity, count, CODES[name].meaning) for name, count in found.counts.items()]
        console.table("findings", ("code", "severity", "count", "what it says"), rows)
        shown = [
            (
                row["code"],
                row["dialogue_id"],
                row["turn"],
                row["text"],
                row["detail"] + (f"; suggested: {row['suggestion']}" if row["suggestion"] else ""),
            )
            for row in found.shown
        ]
        left = sum(found.counts.values()) - len(shown)
        caption = f"{left:,} more; see --limit, --code and --dialogue, or labels/findings.parquet" if left else None
        console.table("the worst first", ("code", "dialogue", "turn", "said", "found"), shown, caption=caption)
    if strict and found.errors:
        raise typer.Exit(3)
