"""Agreement of simulated annotators of 100 real dialogues, with error rates known."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from annotate.simulated_annotators import fill_tasks, offered_choices
from pipeline.cli import _run
from pipeline.workspace import Workspace
from tests.label_exports import save, states_in

pytestmark = pytest.mark.realdata


def semctl(capsys: pytest.CaptureFixture[str], workspace: Workspace, *arguments: object) -> dict:
    code = _run(["-q", "-w", str(workspace.root), *map(str, arguments), "--json"])
    said = capsys.readouterr()
    assert code == 0, said.err
    return json.loads(said.out)


@pytest.mark.slow
def test_alpha_falls_with_the_error_rate_and_the_careless_annotator_is_found(
    shared_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    workspace = Workspace(tmp_path / "shop")
    semctl(capsys, workspace, "import", shared_data / "simmc2_fashion_mmd", "--format", "mmd")
    semctl(capsys, workspace, "ingest-labels")
    gold = states_in(workspace)
    tasks = tmp_path / "tasks.json"
    semctl(capsys, workspace, "export-for-labelling", "--to-file", tasks, "--split", "all", "-n", 100)
    offered = offered_choices((workspace.labelling / "batch-0001" / "label_config.xml").read_text())
    rates = {1: 0.0, 2: 0.0, 3: 0.1, 4: 0.3}
    for number, rate in rates.items():
        export = fill_tasks(
            json.loads(tasks.read_bytes()),
            gold,
            workspace.ontology(),
            (number,),
            offered=offered,
            error_rate=rate,
            project=number,
        )
        semctl(capsys, workspace, "ingest-labels", save(tmp_path / f"{number}.json", export))

    def agreement(*arguments: object) -> dict:
        return semctl(capsys, workspace, "agreement", "--bootstrap", 200, *arguments)

    pairs = [agreement("--annotators", f"user:1,user:{other}")["overall"] for other in (2, 3, 4)]
    assert [each["alpha"] for each in pairs] == sorted((each["alpha"] for each in pairs), reverse=True)
    assert pairs[0]["alpha"] == 1.0
    assert pairs[0]["joint_goal_accuracy"]["value"] == 1.0
    # a turn is marked wrongly with the rate given; some slips leave the turn as it was
    for rate, found in zip((0.1, 0.3), pairs[1:], strict=True):
        assert 1 - rate - 0.05 < found["same"]["value"] < 1 - 0.7 * rate
        assert found["low"] < found["alpha"] < found["high"]
    assert pairs[2]["high"] < pairs[1]["low"]
    everybody = agreement()
    assert next(iter(everybody["annotators"])) == "user:4", "worst first"
    kappas = {tuple(each["annotators"]): each["kappa"] for each in everybody["pairs"]}
    assert min(kappas, key=lambda pair: kappas[pair]) == ("user:3", "user:4")
    assert kappas["user:1", "user:2"] == 1.0
