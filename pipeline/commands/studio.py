"""``semctl studio``: the local Label Studio of this workspace."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline.context import JSON_OPTION, Context

if TYPE_CHECKING:
    from annotate.label_studio.studio import StudioStatus
    from pipeline.console import Console

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add ``studio``."""
    studio = typer.Typer(help="Start, stop and look at this workspace's own Label Studio.", no_args_is_help=True)
    studio.command()(start)
    studio.command()(stop)
    studio.command()(status)
    app.add_typer(studio, name="studio")


def start(
    context: typer.Context,
    port: Annotated[
        int | None, typer.Option("--port", min=1, max=65535, help="Instead of studio.port in semctl.toml.")
    ] = None,
    as_json: Annotated[bool, JSON_OPTION] = False,
) -> None:
    """Install Label Studio (once) and start it on this machine, for this machine only.

    Example: semctl studio start --port 8090
    """
    from annotate.label_studio.studio import Studio

    given: Context = context.obj
    console = given.console(as_json=as_json)
    settings = given.workspace.settings()
    studio = Studio.of_workspace(given.workspace.root)
    shown = studio.start(settings.studio.port if port is None else port, progress=console)
    _show(
        console, shown, next_step="stop it with `semctl studio stop`; Next: semctl export-for-labelling --project NAME"
    )


def stop(context: typer.Context, as_json: Annotated[bool, JSON_OPTION] = False) -> None:
    """Stop this workspace's Label Studio; its projects stay.

    Example: semctl studio stop
    """
    from annotate.label_studio.studio import Studio

    given: Context = context.obj
    console = given.console(as_json=as_json)
    was_running = Studio.of_workspace(given.workspace.require().root).stop()
    if as_json:
        console.json({"was_running": was_running, "running": False})
    else:
        console.say("Label Studio is stopped; its projects are kept" if was_running else "Label Studio was not running")


def status(context: typer.Context, as_json: Annotated[bool, JSON_OPTION] = False) -> None:
    """Whether Label Studio runs, where, and what is in it.

    Example: semctl studio status --json
    """
    from annotate.label_studio.studio import Studio

    given: Context = context.obj
    console = given.console(as_json=as_json)
    shown = Studio.of_workspace(given.workspace.require().root).status()
    _show(console, shown, next_step="" if shown.running else "start it with `semctl studio start`")


def _show(console: Console, shown: StudioStatus, *, next_step: str) -> None:
    if console.as_json:
        console.json(_as_json(shown))
        return
    rows = [
        ("running", "yes" if shown.running else "no"),
        ("address", shown.url),
        ("health", shown.health),
        ("version", shown.version or "not installed"),
        ("process", None if shown.pid is None else str(shown.pid)),
        ("log in as", shown.username),
        ("password and token", shown.credentials_file if shown.username else None),
        ("log", shown.log),
    ]
    console.table("Label Studio", ("", ""), rows, caption=next_step or None)
    if shown.projects:
        projects = [(item["title"], item["tasks"], item["annotations"]) for item in shown.projects]
        console.table("projects", ("project", "tasks", "annotations"), projects)


def _as_json(shown: StudioStatus) -> dict[str, Any]:
    return {
        "running": shown.running,
        "url": shown.url,
        "pid": shown.pid,
        "health": shown.health,
        "version": shown.version,
        "username": shown.username,
        "credentials_file": shown.credentials_file,
        "log": shown.log,
        "projects": [dict(project) for project in shown.projects],
    }
