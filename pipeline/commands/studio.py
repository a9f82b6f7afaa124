"""``semctl studio``: the local Label Studio of this workspace."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.context import JSON_OPTION, RUN, opened
from schemas.json_form import json_form

if TYPE_CHECKING:
    from annotate.label_studio.studio import Studio, StudioStatus
    from pipeline.console import Console
    from pipeline.serving.studio_connection import Connection
    from pipeline.workspace import Workspace

group = typer.Typer(help="Start, stop and look at this workspace's own Label Studio.", no_args_is_help=True)


@group.command()
def start(
    context: typer.Context,
    port: Annotated[int | None, typer.Option(min=1, max=65535, help="Instead of studio.port in semctl.toml.")] = None,
    host: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            help="This machine's address to listen on, instead of studio.host; 0.0.0.0: all, for other machines.",
        ),
    ] = None,
    public_url: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="The address at which people open it, instead of studio.public_url: a name, or a proxy's.",
        ),
    ] = None,
    model_here: Annotated[
        bool,
        typer.Option(
            "--model-here",
            help="Let it ask a model at 127.0.0.1 (semctl studio connect) although other machines reach it.",
        ),
    ] = False,
    as_json: Annotated[bool, JSON_OPTION] = False,
) -> None:
    """Install Label Studio (once) and start it; for this machine only, unless --host or --public-url say otherwise.

    Example: semctl studio start --host 0.0.0.0 --public-url http://labels.example.org:8080
    """
    workspace, studio, console = _studio(context, as_json)
    settings = workspace.settings().studio
    shown = studio.start(
        settings.port if port is None else port,
        progress=console,
        host=settings.host if host is None else host,
        public_url=settings.public_url if public_url is None else public_url,
        model_here=model_here,
    )
    if shown.is_open:
        console.log(
            f"warning: other machines reach this Label Studio at {shown.page_url}: whoever opens that address sees its "
            "login page, and whoever makes an account by the invitation sees, changes and deletes everything in it, as "
            "there are no roles; nobody else gets an account"
        )
        if model_here:
            console.log(
                "warning: with --model-here, whoever has an account can have Label Studio send requests to any server "
                "at 127.0.0.1 of this machine"
            )
        if (shown.page_url or "").startswith("http:"):
            console.log(
                "warning: without TLS, passwords and labels can be read on the way; outside of a network that you "
                "trust, put a proxy with TLS before it and name its address: --public-url https://NAME"
            )
    _show(
        console, shown, next_step="Next: semctl export-for-labelling --project NAME; stop it with: semctl studio stop"
    )


@group.command()
def stop(context: typer.Context, as_json: Annotated[bool, JSON_OPTION] = False) -> None:
    """Stop this workspace's Label Studio; its projects stay.

    Example: semctl studio stop
    """
    _, studio, console = _studio(context, as_json)
    was_running = studio.stop()
    if as_json:
        console.json({"was_running": was_running, "running": False})
    else:
        console.say("Label Studio is stopped; its projects are kept" if was_running else "Label Studio was not running")


@group.command()
def status(context: typer.Context, as_json: Annotated[bool, JSON_OPTION] = False) -> None:
    """Whether Label Studio runs, where, and what is in it.

    Example: semctl studio status --json
    """
    _, studio, console = _studio(context, as_json)
    shown = studio.status()
    _show(console, shown, next_step="" if shown.running else "Next: semctl studio start")


@group.command()
def invite(
    context: typer.Context,
    new: Annotated[
        bool, typer.Option("--new", help="Make another invitation; the one before invites nobody any more.")
    ] = False,
    as_json: Annotated[bool, JSON_OPTION] = False,
) -> None:
    """Print the address at which annotators make accounts of their own; anybody who has it can.

    Example: semctl studio invite
    """
    _, studio, console = _studio(context, as_json)
    invitation = studio.invitation(new=new)
    if as_json:
        console.json({"invitation": invitation})
    else:
        console.say(invitation)


@group.command()
def connect(
    context: typer.Context,
    run: Annotated[str, RUN] = "latest",
    project: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Label Studio project; repeatable. Else all that this workspace labels in."),
    ] = None,
    address: Annotated[
        str, typer.Option(metavar="URL", help="Where `semctl serve` answers, as Label Studio is to ask it.")
    ] = "http://127.0.0.1:8090",
    as_json: Annotated[bool, JSON_OPTION] = False,
) -> None:
    """Have opened tasks filled in by a run that `semctl serve` serves.

    The server has to run, and to go on running while people label. Twice changes nothing. Where it asks for a key,
    $SEMCTL_API_KEY says it, and Label Studio keeps it.

    Example: semctl studio connect latest --project "coats, round 2"
    """
    from pipeline.serving.studio_connection import ConnectRequest, connect_studio

    workspace, console = opened(context, as_json=as_json)
    found = connect_studio(workspace, ConnectRequest(run, address, tuple(project or ())))
    console.result(found, show_connection)


def show_connection(console: Console, found: Connection) -> None:
    """What asks the run now, and what to do next."""
    rows = [(each.project, each.state, each.tasks, each.predictions, each.url) for each in found.projects]
    heads = ("project", "now", "tasks", "predictions there", "label at")
    console.table(f"filled in by {found.version} at {found.address}", heads, rows)
    if any(each.predictions for each in found.projects):
        console.say("a task that has a prediction keeps it when it is opened; one without is asked about then")
    if found.key:
        console.say("the key is kept in Label Studio; its webhook, which would show it, is switched off")
    names = " ".join(f"--project {shlex.quote(each.project)}" for each in found.projects)
    console.say(f"Next: open a task; keep the server at {found.address} running; then semctl ingest-labels {names}")


def _studio(context: typer.Context, as_json: bool) -> tuple[Workspace, Studio, Console]:
    from annotate.label_studio.studio import Studio

    workspace, console = opened(context, as_json=as_json)
    return workspace, Studio.of_workspace(workspace.require().root), console


def _show(console: Console, shown: StudioStatus, *, next_step: str) -> None:
    if console.as_json:
        console.json(json_form(shown))
        return
    rows = [
        ("running", "yes" if shown.running else "no"),
        ("address", shown.page_url),
        ("for other machines", ("yes" if shown.is_open else "no") if shown.running else None),
        ("health", shown.health),
        ("version", shown.version or "not installed"),
        ("process", None if shown.pid is None else str(shown.pid)),
        ("log in as", shown.username),
        ("password and token", shown.credentials_file if shown.username else None),
        ("log", shown.log),
    ]
    console.table("Label Studio", ("", ""), rows, caption=next_step or None)
    if shown.is_open and shown.invitation:
        console.say(f"annotators make their accounts at {shown.invitation}")
    if shown.projects:
        projects = [(item["title"], item["tasks"], item["annotations"]) for item in shown.projects]
        console.table("projects", ("project", "tasks", "annotations"), projects)
