"""What the global options say, handed to every command."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass

import typer

from pipeline.console import Console
from pipeline.workspace import Workspace

JSON_OPTION = typer.Option("--json", help="Print exactly one JSON object to stdout.")
PROJECT = typer.Option(metavar="NAME", help="Label Studio project, made when it is not there.")
TO_FILE = typer.Option(metavar="FILE", help="Write a JSON file that Label Studio imports.")
RESOLVE = typer.Option(
    "--resolve",
    metavar="POLICY",
    help="Where annotators differ: majority, adjudicated or dawid-skene; else what semctl.toml says.",
)
RUN = typer.Argument(help="Run id, or 'latest'.")
SETTINGS = typer.Option("--set", metavar="KEY=VALUE", help="A setting on top of the preset; repeatable.")
PRODUCT_TABLE = typer.Option(help="How exactly a run keeps encoded products; bfloat16 halves their memory.")
NO_IMAGES = typer.Option("--no-images", help="Leave every image out, of dialogues and catalogue.")
DS_INPUT = typer.Option(
    "--ds-input", help="Give models that read no states the gold ones as text, in training and in use (Figure 6)."
)
LLM_MODEL = typer.Option(
    "--llm-model", metavar="NAME", help="--prelabel llm: the model's name there; else $SEMCTL_LLM_MODEL."
)
MAX_COST = typer.Option(min=0, metavar="M", help="--prelabel llm: refuse to start what may cost more, by the prices.")
MAX_TOKENS = typer.Option(min=0, metavar="N", help="--prelabel llm: refuse to start what may take more tokens.")
PRICE_IN = typer.Option(min=0, metavar="P", help="--prelabel llm: price of a million tokens sent.")
PRICE_OUT = typer.Option(min=0, metavar="P", help="--prelabel llm: price of a million tokens received.")
ENGINE = typer.Option(
    help="Where shards of the work are done: local, or ray (extra 'ray'), on the cluster of $RAY_ADDRESS or one "
    "started on this machine."
)
ENGINE_OF_IMAGES = typer.Option("--engine", help="Where images are encoded, once each: local or ray, as in `import`.")
LICENCE = typer.Option(metavar="NAME", help="Licence to state, as apache-2.0; without it, none is.")
PUSH = typer.Option(metavar="OWNER/NAME", help="Send the folder to the Hugging Face Hub, with $HF_TOKEN.")
PUBLIC = typer.Option("--public", help="With --push: a new repository that everybody may read; else a private one.")
"""Options that several commands have."""


def first_process() -> bool:
    """Whether this process speaks for all that ``torchrun`` started; yes, when nothing did."""
    return os.environ.get("RANK", "0") == "0"


@dataclass
class Context:
    """Global options: the workspace, quietness, debugging."""

    workspace: Workspace  # the folder
    quiet: bool = False
    debug: bool = False
    named: str | None = None  # the folder as ``-w`` gave it; None when it was not given
    # names of all commands; a hint such as "run `semctl train`" is printed with the ``-w`` it needs
    commands: Sequence[str] = ()

    def console(self, *, as_json: bool) -> Console:
        """The console of this command."""
        console = Console(as_json=as_json, quiet=self.quiet or not first_process(), hint=self.hint)
        console.hear()
        return console

    def hint(self, text: str) -> str:
        """A line for people, in which commands of semctl carry the ``-w`` that this one was given."""
        if self.named is None or "semctl " not in text:
            return text
        option = f"semctl -w {shlex.quote(self.named)} "
        return re.sub(rf"\bsemctl (?=(?:{'|'.join(map(re.escape, self.commands))})\b)", lambda _: option, text)


def opened(context: typer.Context, *, as_json: bool) -> tuple[Workspace, Console]:
    """The workspace that a command works on, which may be none yet, and the console that it prints to."""
    given: Context = context.obj
    return given.workspace, given.console(as_json=as_json)
