"""The command line: global options, the commands in the order of the work, and where errors become exit codes."""

from __future__ import annotations

import importlib
import inspect
import io
import keyword
import os
import sys
import traceback
from pathlib import Path
from typing import Annotated

import typer

from pipeline.console import Console
from pipeline.context import Context, first_process
from pipeline.workspace import Workspace
from schemas.errors import SemctlError, UsageError
from schemas.files import disk_problem
from schemas.safe_text import as_unicode, forget_secrets, guard, harmless

app = typer.Typer(
    name="semctl",
    help="A working multimodal conversational recommender out of few belief-state labels.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

COMMANDS = tuple(
    "demo generate import fetch-images stats studio select plan export-for-labelling progress ingest-labels ontology "
    "checks audit diff trace agreement adjudicate feedback config train evaluate recommend serve judge experiment "
    "report export-model export-dataset benchmark doctor".split()
)
"""In the order of the work; each a module of :mod:`pipeline.commands` with a function of that name, or a ``group``."""


def _version(wanted: bool) -> None:
    if wanted:
        from importlib import metadata  # reads e-mail headers: not at every start

        print(f"semctl {metadata.version('semctl')}")
        raise typer.Exit


@app.callback()
def _global_options(
    context: typer.Context,
    workspace: Annotated[
        Path | None,
        typer.Option("-w", "--workspace", help="Workspace folder; else $SEMCTL_WORKSPACE, else the current folder."),
    ] = None,
    quiet: Annotated[
        bool, typer.Option("-q", "--quiet", help="No progress bars and no log lines but warnings.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of a bug.")] = False,
    _version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    state: Context = context.obj or Context(Workspace.resolve(None), commands=COMMANDS)
    context.obj = state
    state.workspace, state.named = Workspace.resolve(workspace), None if workspace is None else str(workspace)
    state.quiet, state.debug = quiet, debug


def _let_help_fill_lines(group: typer.Typer) -> None:
    """Take the line ends out of the paragraphs of each command's help, which typer would keep at any width."""
    for command in group.registered_commands:
        paragraphs = (command.help or inspect.getdoc(command.callback) or "").split("\n\n")
        command.help = "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)
    for each in group.registered_groups:
        if each.typer_instance is not None:
            _let_help_fill_lines(each.typer_instance)


for _command in COMMANDS:
    _name = _command.replace("-", "_") + "_" * keyword.iskeyword(_command)
    _module = importlib.import_module(f"pipeline.commands.{_name}")
    if hasattr(_module, "group"):
        app.add_typer(_module.group, name=_command)
    else:
        app.command(_command)(getattr(_module, _name))
_let_help_fill_lines(app)


def main() -> None:
    """Entry point of the console script.

    Exit codes: 0 done; 1 a bug; 2 bad usage or bad input; 3 a check that did not hold; 4 an outside service failed;
    130 interrupted.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal of few letters is no reason to stop
    try:
        sys.exit(_run(sys.argv[1:]))
    except Exception:  # with --debug
        sys.stderr.write(harmless(traceback.format_exc()))
        sys.exit(1)


def _run(arguments: list[str]) -> int:
    as_json = "--json" in arguments
    debug = "--debug" in arguments
    forget_secrets()
    for secret in ("LABEL_STUDIO_API_KEY", "SEMCTL_LLM_KEY"):
        guard(os.environ.get(secret, "").strip())
    first = first_process()  # the others, under torchrun, print nothing but their errors
    state = Context(Workspace.resolve(None), commands=COMMANDS)
    console = Console(as_json=as_json and first, quiet=not first, hint=state.hint)
    try:
        code = app(args=arguments, prog_name="semctl", standalone_mode=False, obj=state)
        sys.stdout.flush()
    except SemctlError as problem:
        return _fail(console, problem)
    except (KeyboardInterrupt, typer.Abort):
        console.log("interrupted; what was finished is kept")
        return 130
    except BrokenPipeError:
        return _reader_gone()
    except SystemExit as leave:  # typer's own answer to a pipe that nobody reads any more is 1
        if isinstance(leave.__context__, BrokenPipeError):
            return _reader_gone()
        raise
    except Exception as problem:
        disk = disk_problem(problem) if isinstance(problem, OSError) else None
        if disk is not None and not debug:
            return _fail(console, disk)
        not_utf8 = next((given for given in arguments if as_unicode(given) != given), None)
        if isinstance(problem, UnicodeEncodeError) and not_utf8 is not None and not debug:
            return _fail(console, UsageError("a name that is not UTF-8", where=not_utf8, fix="take another name"))
        usage = _usage_message(problem)
        if usage == "":  # no command: the help was printed
            return 2
        if usage is not None:
            return _fail(console, UsageError(usage, fix=f"see `{_command_of(problem)} --help`"))
        if debug:
            raise
        what = f"a bug in semctl: {type(problem).__name__}: {problem}"
        return _fail(console, SemctlError(what, fix="run again with --debug to see where"))
    return code if isinstance(code, int) else 0


def _fail(console: Console, problem: SemctlError) -> int:
    try:
        console.error(problem)
    except BrokenPipeError:
        _reader_gone()
    return problem.exit_code


def _reader_gone() -> int:
    """``semctl ... | head`` has all it wanted; what is left in the buffers must not raise again at the end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def _usage_message(problem: Exception) -> str | None:
    # typer ships its own copy of click in newer versions, so the class to catch is not the same everywhere
    names = {kind.__name__ for kind in type(problem).__mro__}
    formatted = getattr(problem, "format_message", None)
    return str(formatted()).removesuffix(".") if "ClickException" in names and formatted is not None else None


def _command_of(problem: Exception) -> str:
    return str(getattr(getattr(problem, "ctx", None), "command_path", "semctl"))


if __name__ == "__main__":
    main()
