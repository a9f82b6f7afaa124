"""``semctl doctor``."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from pipeline.context import JSON_OPTION, opened
from schemas.json_form import json_form


def doctor(context: typer.Context, as_json: Annotated[bool, JSON_OPTION] = False) -> None:
    """What is wrong with this machine, this workspace or that Label Studio, and how to fix it.

    Exit code 0 when nothing is a problem, 3 otherwise; warnings do not count.

    Example: semctl -w shop doctor
    """
    from pipeline.doctor import examine

    workspace, console = opened(context, as_json=as_json)
    findings = examine(workspace, os.environ, console)
    problems = sum(finding.level == "problem" for finding in findings)
    warnings = sum(finding.level == "warning" for finding in findings)
    if as_json:
        rows = [json_form(finding) for finding in findings]
        console.json({"problems": problems, "warnings": warnings, "findings": rows})
    else:
        console.table(
            f"problems: {problems}, warnings: {warnings}",
            ["", "area", "what", "found", "fix"],
            [[f.level, f.area, f.check, f.found, f.fix or ""] for f in findings],
        )
    if problems:
        raise typer.Exit(code=3)
