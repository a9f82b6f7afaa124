from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pipeline import cli
from pipeline.modelling.evaluate import EvaluateRequest, evaluate
from pipeline.modelling.train import TrainRequest, resume, train
from pipeline.modelling.training_data import labelled_dialogues, unlabelled_dialogues
from pipeline.workspace import Workspace
from schemas.errors import InputError, MissingPartError, ModelError, OntologyError, UsageError, WorkspaceError
from schemas.files import sha256_file, write_json
from schemas.ontology import Ontology, Slot, Value
from schemas.tables import D_F, D_P, IMAGES, PRODUCTS, RECOMMENDATIONS, TURNS, write_table

COLOURS, TYPES = ("red", "blue", "green"), ("dress", "shirt")
FAST = ("model.width=8", "model.heads=2", "model.layers=1", "model.inner=8", "train.batch_size=4", "train.epochs=2")


def write_splits(workspace: Workspace, *, labelled: int = 6) -> None:
    """The first dialogues are labelled, two of them for validation."""
    rows = {"D_F": [], "D_P": []}
    for number in range(12):
        known = number < labelled or number >= 10
        state = {"attribute": "color", "polarity": "like", "catalogue_value": None, "in_catalogue": False}
        rows["D_F" if known else "D_P"].append(
            {
                "dialogue_id": f"d{number:02}",
                "turn": 0,
                "split": "train" if number < 10 else "valid",
                "state": [{**state, "slot": "color", "value": COLOURS[number % 3]}] if known else None,
                "labelled_slots": ["color", "type"] if known else [],
                "annotators": [],
                "source_annotations": [],
            }
        )
    write_table(workspace.d_f, D_F, rows["D_F"])
    write_table(workspace.d_p, D_P, rows["D_P"])
    write_json(
        workspace.split_manifest,
        {"files": {p.stem: {"sha256": sha256_file(p)} for p in (workspace.d_f, workspace.d_p)}},
    )


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    made = Workspace(tmp_path / "space").create()
    products, images, turns, asked = [], [], [], []
    blank = {"description": "", "price": None, "currency": None, "source": "test"}
    for colour in COLOURS:
        for kind in TYPES:
            name = f"{colour}-{kind}"
            path = tmp_path / f"{name}.png"
            Image.new("RGB", (8, 8), colour).save(path)
            attributes = [("color", [colour]), ("type", [kind])]
            products.append({**blank, "product_id": name, "name": name, "attributes": attributes, "image_ids": [name]})
            size = {"width": 8, "height": 8, "status": "ok", "sha256": sha256_file(path), "url": None}
            images.append({**size, "image_id": name, "file": str(path)})
    products.sort(key=lambda row: row["product_id"])
    names = [row["product_id"] for row in products]
    for number in range(12):
        turn = {"dialogue_id": f"d{number:02}", "act": "", "split": "train" if number < 10 else "valid"}
        wanted = names[number % 6]
        said = f"a {wanted.replace('-', ' ')} please"
        turns.append({**turn, "turn": 0, "speaker": "user", "text": said, "image_ids": [names[(number + 1) % 6]]})
        turns.append({**turn, "turn": 1, "speaker": "system", "text": "this", "image_ids": [wanted]})
        others = [names[(number + 2) % 6], names[(number + 3) % 6]]
        listed = {"positives_listed": [], "negatives_listed": []}
        asked.append(
            {
                **listed,
                "dialogue_id": f"d{number:02}",
                "turn": 1,
                "positives": [wanted],
                "negatives": others,
                "split": turn["split"],
            }
        )
    write_table(made.products, PRODUCTS, products)
    write_table(made.images, IMAGES, images)
    write_table(made.turns, TURNS, turns)
    write_table(made.recommendations, RECOMMENDATIONS, asked)
    slots = [
        Slot(name=name, attribute=name, values=tuple(Value(value=value, count=1) for value in values))
        for name, values in (("color", COLOURS), ("type", TYPES))
    ]
    Ontology(slots=tuple(slots)).write(made.ontology_file)
    write_splits(made)
    return made


def request(ratio: float = 0.5, **more) -> TrainRequest:
    return TrainRequest(labeled_ratio=ratio, **{"preset": "tiny", "settings": FAST, **more})


def test_a_run_folder_holds_what_a_run_is(workspace: Workspace):
    record = train(workspace, request())
    folder = Path(record.path)
    assert folder.parent == workspace.runs
    assert {path.name for path in folder.iterdir()} == {
        "checkpoints",
        "config.toml",
        "metrics.jsonl",
        "model",
        "plan.json",
        "record.json",
        "tensorboard",
    }
    assert record.labelled_dialogues == 5
    assert record.unlabelled_dialogues == 5
    assert record.epochs == 2
    assert set(record.best) > {"epoch", "ndcg@5", "precision@20"}
    assert "learned from the corpus" in record.words
    assert "no weights" in record.pictures
    assert record.run.startswith("tiny-r0.5-s0-")
    card = (folder / "model" / "README.md").read_text()
    assert record.run in card
    assert "5 dialogues with belief states, 5 without" in card
    assert json.loads((folder / "record.json").read_text()) == record.as_json()
    assert list(workspace.features.glob("pixels*.npy"))


def test_the_same_request_is_the_same_run_and_is_not_trained_twice(workspace: Workspace):
    record = train(workspace, request())
    before = (Path(record.path) / "record.json").stat().st_mtime_ns
    assert train(workspace, request()) == record
    assert (Path(record.path) / "record.json").stat().st_mtime_ns == before


def test_whatever_decides_the_outcome_changes_the_runs_name(workspace: Workspace):
    names = {
        train(workspace, request()).run,
        train(workspace, request(seed=1)).run,
        train(workspace, request(images=False)).run,
        train(workspace, request(ratio=0.4)).run,
        train(workspace, request(epochs=1)).run,
    }
    write_splits(workspace, labelled=8)
    names.add(train(workspace, request()).run)
    assert len(names) == 6


def test_ratio_zero_needs_no_labels(workspace: Workspace):
    write_splits(workspace, labelled=0)
    record = train(workspace, request(0.0))
    assert (record.labelled_dialogues, record.unlabelled_dialogues) == (0, 10)


def test_too_few_labels_name_the_largest_possible_ratio(workspace: Workspace):
    with pytest.raises(InputError, match=r"0.8 of 10 training dialogues is 8, only 6 are labelled.*largest.*is 0.6"):
        train(workspace, request(0.8))
    assert not workspace.runs.exists()
    assert train(workspace, request(0.6)).labelled_dialogues == 6


@pytest.mark.parametrize("ratio", [-0.1, 1.1, float("nan")])
def test_a_ratio_outside_zero_to_one_is_refused(workspace: Workspace, ratio: float):
    with pytest.raises(UsageError, match="give a share from 0 to 1"):
        train(workspace, request(ratio))


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 5), ratios=st.tuples(st.floats(0, 1), st.floats(0, 1)))
def test_labelled_dialogues_are_nested_for_one_seed(seed: int, ratios: tuple[float, float]):
    names = [f"dialogue {i}" for i in range(40)]
    small, large = (labelled_dialogues(names, 40, ratio, seed) for ratio in sorted(ratios))
    assert large[: len(small)] == small
    assert len(large) == int(max(ratios) * 40 + 0.5)
    assert labelled_dialogues(names[::-1], 40, max(ratios), seed) == large  # whatever the order of the file


def test_another_seed_labels_other_dialogues():
    names = [f"dialogue {i}" for i in range(40)]
    assert labelled_dialogues(names, 40, 0.2, 0) != labelled_dialogues(names, 40, 0.2, 1)


@settings(max_examples=50, deadline=None)
@given(labelled=st.integers(1, 60), training=st.integers(1, 60))
def test_the_largest_possible_ratio_is_possible(labelled: int, training: int):
    names = [str(i) for i in range(min(labelled, training))]
    try:
        labelled_dialogues(names, training, 1.0, 0)
    except InputError as problem:
        largest = float(str(problem.fix).split("ratio is ")[1].split(";")[0])
        assert len(labelled_dialogues(names, training, largest, 0)) <= len(names)


def test_training_goes_on_where_it_was_interrupted(workspace: Workspace, tmp_path: Path):
    straight = train(workspace, request())
    model = Path(straight.path) / "model" / "model.safetensors"
    expected = model.read_bytes(), model.with_name("README.md").read_bytes()
    model.parent.parent.rename(tmp_path / "kept")

    class Impatient:
        steps = 0

        def task(self, title, total=None):
            del total
            self.training = title == "training"
            return self

        def __enter__(self):
            return self

        def __exit__(self, *exc):
            return None

        def advance(self, n=1, *, note=None):
            self.steps += 1 if self.training and note else 0
            if self.steps == 6:
                os.kill(os.getpid(), signal.SIGINT)

        def log(self, message):
            self.said = message

    display = Impatient()
    with pytest.raises(KeyboardInterrupt):
        train(workspace, request(), progress=display)
    assert display.said == f"stopped; continue with `semctl train --resume {straight.run}`"
    record = resume(workspace, "latest")
    assert record.best == straight.best
    assert (model.read_bytes(), model.with_name("README.md").read_bytes()) == expected
    assert resume(workspace, record.run) == record


@pytest.mark.slow
def test_a_killed_process_is_gone_on_with(workspace: Workspace):
    straight = train(workspace, request(epochs=40))
    expected = (Path(straight.path) / "model" / "model.safetensors").read_bytes()
    folder = Path(straight.path)
    folder.rename(folder.with_name("straight"))
    (folder.with_name("straight") / "plan.json").unlink()
    command = [
        sys.executable,
        "-m",
        "pipeline.cli",
        "-w",
        str(workspace.root),
        "train",
        "--labeled-ratio",
        "0.5",
        "--preset",
        "tiny",
    ]
    command += [f"--set={setting}" for setting in FAST] + ["--epochs", "40"]
    root = Path(__file__).resolve().parents[3]
    with subprocess.Popen(command, cwd=root, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 120
        while not (folder / "checkpoints" / "last.safetensors").exists():
            assert process.poll() is None, "it ended before it could be killed"
            assert time.monotonic() < deadline
            time.sleep(0.01)
        process.kill()
    assert not (folder / "record.json").exists()
    record = resume(workspace, folder.name)
    assert (folder / "model" / "model.safetensors").read_bytes() == expected
    assert record.best == straight.best


def test_a_run_is_not_gone_on_with_on_other_data(workspace: Workspace):
    record = train(workspace, request())
    (Path(record.path) / "record.json").unlink()
    write_splits(workspace, labelled=7)
    with pytest.raises(ModelError, match="the data changed since this run began: D_F, D_P"):
        resume(workspace, record.run)


def test_splits_that_are_not_those_of_the_manifest_are_refused(workspace: Workspace):
    write_table(workspace.d_p, D_P, [])
    with pytest.raises(WorkspaceError, match="the split D_P is not the one its manifest names"):
        train(workspace, request())
    workspace.split_manifest.unlink()
    with pytest.raises(WorkspaceError, match="run `semctl ingest-labels` first"):
        train(workspace, request())


def test_an_empty_folder_is_not_a_workspace(tmp_path: Path):
    with pytest.raises(WorkspaceError, match="not a semctl workspace"):
        train(Workspace(tmp_path), request())


def test_without_images_none_is_read(workspace: Workspace):
    record = train(workspace, request(images=False))
    assert record.pictures == "left out"
    assert not list(workspace.features.glob("*.npy"))


def run_cli(workspace: Workspace, *arguments: str) -> int:
    return cli._run(["-w", str(workspace.root), "-q", "train", *arguments])


def test_the_command_prints_one_json_object(workspace: Workspace, capfdbinary: pytest.CaptureFixture[bytes]):
    code = run_cli(workspace, "--labeled-ratio", "0.5", *(f"--set={setting}" for setting in FAST), "--json")
    assert code == 0
    value = json.loads(capfdbinary.readouterr().out)
    assert {"run", "path", "labelled_dialogues", "unlabelled_dialogues", "epochs", "best"} <= value.keys()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((), "--labeled-ratio is missing"),
        (("--labeled-ratio", "2"), "the labelled ratio is 2"),
        (("--labeled-ratio", "0.5", "--preset", "tny"), "did you mean 'tiny'?"),
        (("--labeled-ratio", "0.5", "--model", "semantc"), "did you mean 'semantic'?"),
        (("--labeled-ratio", "0.5", "--set", "dsi.hop=2"), "did you mean 'dsi.hops'?"),
        (("--labeled-ratio", "0.5", "--preset", "paper"), "text.embeddings=corpus"),
        (("--resume", "nothing"), "there is no run 'nothing'"),
        (("--resume", "latest", "--seed", "3"), "leave the other options out"),
    ],
)
def test_bad_usage_is_one_line_and_exit_code_two(
    workspace: Workspace, arguments, says: str, capfd, monkeypatch, tmp_path
):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    assert run_cli(workspace, *arguments) == 2
    shown = " ".join(capfd.readouterr().err.split())
    assert says in shown
    assert "Traceback" not in shown
    assert not workspace.runs.exists()


def test_a_corpus_without_any_image_still_trains(workspace: Workspace):
    write_table(workspace.images, IMAGES, [])
    assert train(workspace, request()).epochs == 2


def test_an_ontology_without_slots_is_refused(workspace: Workspace):
    Ontology().write(workspace.ontology_file)
    with pytest.raises(OntologyError, match="the ontology has no slots"):
        train(workspace, request())


@pytest.mark.realdata
@pytest.mark.slow
def test_two_epochs_on_real_dialogues_beat_word_matching(shared_data: Path, tmp_path: Path):
    space = ["-w", str(tmp_path / "space"), "-q"]
    assert cli._run([*space, "import", str(shared_data / "simmc2_fashion_mmd"), "--format", "mmd"]) == 0
    assert cli._run([*space, "ingest-labels"]) == 0
    record = train(Workspace(tmp_path / "space"), TrainRequest(labeled_ratio=1.0, preset="tiny", epochs=2))
    assert record.labelled_dialogues == 400
    assert record.best["ndcg@5"] > 0.42  # TF-IDF of the last user turn: 0.37


def test_d_p_may_be_a_part_of_the_training_dialogues_and_holds_d_f(workspace: Workspace):
    small = train(workspace, request(0.2, settings=(*FAST, "train.unlabelled_ratio=0.5")))
    assert (small.labelled_dialogues, small.unlabelled_dialogues) == (2, 3)
    assert small.examples == {"D_F": 2, "D_P": 5, "valid": 2}
    none = train(workspace, request(0.2, settings=(*FAST, "train.unlabelled_ratio=0")))
    assert (none.labelled_dialogues, none.unlabelled_dialogues) == (2, 0)
    with pytest.raises(InputError, match="of 10 training dialogues is none"):
        train(workspace, request(0.0, settings=(*FAST, "train.unlabelled_ratio=0")))


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 5), ratios=st.tuples(st.floats(0, 1), st.floats(0, 1)), labelled=st.integers(1, 20))
def test_d_p_is_nested_for_one_seed(seed: int, ratios: tuple[float, float], labelled: int):
    names = [f"dialogue {i}" for i in range(40)]
    d_f = labelled_dialogues(names, 40, labelled / 40, seed)
    small, large = (unlabelled_dialogues(names, d_f, ratio, seed) for ratio in sorted(ratios))
    assert large[: len(small)] == small
    assert set(small) >= set(d_f)
    assert len(large) == max(len(d_f), int(max(ratios) * 40 + 0.5))


def test_the_command_takes_the_share_of_unlabelled_dialogues(workspace: Workspace, capsys):
    sets = [word for setting in FAST for word in ("--set", setting)]
    arguments = ["train", "--labeled-ratio", "0.2", "--unlabeled-ratio", "0.5", "--epochs", "1", *sets, "--json"]
    assert cli._run(["-w", str(workspace.root), *arguments]) == 0
    assert json.loads(capsys.readouterr().out)["unlabelled_dialogues"] == 3


def test_a_preset_whose_weights_are_not_here_is_refused_before_anything_is_written(workspace: Workspace):
    settings = (*FAST, "image.encoder=mobilenet_v2", "image.standardize=false")
    with pytest.raises(MissingPartError, match=r"image\.features=FOLDER"):
        train(workspace, TrainRequest(labeled_ratio=0.5, settings=settings))
    assert not workspace.runs.exists()


def test_without_images_no_weights_of_an_image_network_are_needed(workspace: Workspace):
    settings = (*FAST, "text.embeddings=corpus", "image.encoder=mobilenet_v2")
    record = train(workspace, TrainRequest(0.5, preset="paper", settings=settings, epochs=1, images=False))
    assert record.pictures == "left out"


def test_a_fine_tuned_run_is_used_without_the_weights_it_began_with(workspace: Workspace, tmp_path: Path):
    torchvision = pytest.importorskip("torchvision")
    from safetensors.torch import save_file

    weights = tmp_path / "net.safetensors"
    save_file(torchvision.models.squeezenet1_1(weights=None).state_dict(), weights)
    chosen = ("text.embeddings=corpus", "image.encoder=squeezenet1_1", f"image.weights={weights}")
    record = train(workspace, TrainRequest(0.5, preset="release", settings=(*FAST, *chosen), epochs=1))
    assert "which trains along" in record.pictures
    weights.unlink()
    report = evaluate(workspace, EvaluateRequest(record.run, split="valid", candidates="all"))
    assert report.rows[0].means["ndcg@5"] == pytest.approx(record.best["ndcg@5"])
