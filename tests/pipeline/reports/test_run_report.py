"""``semctl report RUN``: its figures, its cases, its page."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.cli import _run
from pipeline.corpus.import_corpus import ImportRequest, import_corpus
from pipeline.generator.corpus import GenerateRequest, generate_corpus
from pipeline.labelling.ingest_labels import IngestRequest, ingest_labels
from pipeline.modelling.train import TrainRequest, train
from pipeline.reports.cases import pick
from pipeline.reports.curves import Chart, Line, training_curves
from pipeline.reports.slices import Figure, _count_class, slice_groups
from pipeline.reports.thumbnails import image_sheet
from pipeline.workspace import Workspace
from schemas.progress import SilentProgress
from semantic_model.evaluation.metrics import bootstrap_intervals
from tests.pipeline.reports.hostile_shop import LONG, RUN, TEXTS, add_run, make_shop, rank_by_words
from tests.pipeline.reports.page_markup import assert_stays_in_its_file


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    rank_by_words(monkeypatch)
    return make_shop(tmp_path / "shop<script>")


@pytest.fixture
def semctl(shop: Workspace, capsys: pytest.CaptureFixture[str]):
    def run(*arguments: str) -> tuple[int, str, str]:
        code = _run(["-w", str(shop.root), "report", *arguments])
        said = capsys.readouterr()
        return code, said.out, " ".join(said.err.split())

    return run


def test_hostile_texts_are_text_and_nothing_leaves_the_file(semctl: Any, shop: Workspace):
    code, out, _ = semctl(RUN, "--json")
    assert code == 0
    found = json.loads(out)
    file = shop.reports / f"{RUN}.html"
    assert found["file"] == str(file)
    assert found["bytes"] == file.stat().st_size
    page = file.read_text()
    seen = assert_stays_in_its_file(page)
    assert "<script>window.fired = 1</script>" in seen.text
    assert "']\"}</style><script>window.fired=12</script>" in seen.text
    assert "\ufffd[31mred" in seen.text
    assert f"({len(LONG):,} characters)" in seen.text
    assert LONG not in seen.text
    assert "<bdi>\u202eneddih\u202c x</bdi>" in page
    # of 14 dialogues of the test split every text names its own product
    assert len(found["cases"]["shown"]) == len(TEXTS) - 1
    assert found["cases"]["explained"] == []
    assert "This kind of model tells neither" in seen.text
    assert seen.tags.count("details") >= len(TEXTS) - 1
    assert page.count("data:image/webp;base64,") == len(TEXTS), "each image once, however often it is shown"


def test_the_same_run_gives_the_same_bytes_and_out_names_another_file(semctl: Any, shop: Workspace, tmp_path: Path):
    other = tmp_path / "deep" / "er" / "page.html"
    assert semctl(RUN)[0] == semctl(RUN, "--out", str(other))[0] == 0
    assert other.read_bytes() == (shop.reports / f"{RUN}.html").read_bytes()
    assert semctl(RUN, "--out", str(tmp_path))[0] == 2


def test_latest_is_the_newest_run_and_fewer_cases_are_the_first_of_more(semctl: Any):
    few, more = (json.loads(semctl("latest", "--cases", n, "--json")[1])["cases"]["shown"] for n in ("3", "8"))
    names = [[(case["dialogue_id"], case["turn"]) for case in found] for found in (few, more)]
    assert names[0] == names[1][:3]
    none = json.loads(semctl("latest", "--cases", "0", "--json")[1])
    assert none["cases"]["shown"] == []
    other = json.loads(semctl("latest", "--cases", "8", "--seed", "1", "--json")[1])["cases"]["shown"]
    assert [(case["dialogue_id"], case["turn"]) for case in other] != names[1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "name a run or an experiment, or give --labels"),
        ((RUN, "--labels"), "name a run or an experiment, or give --labels"),
        (("tiny-r0-s0-abcdeg",), f"no finished experiment 'tiny-r0-s0-abcdeg' did you mean '{RUN}'?"),
        ((RUN, "--against", RUN), "is the run itself"),
        ((RUN, "--against", "other"), "there is no run 'other'"),
        ((RUN, "--split", "valid"), "the split 'valid' has no recommendation turns"),
        (("--labels", "--against", RUN), "--against is of runs"),
        (("--labels",), "nothing was ingested yet"),
        ((RUN, "--no-names"), "--no-names is of --labels"),
        (("../shop",), "there is no run"),
    ],
)
def test_what_cannot_be_reported_is_said_in_one_line(semctl: Any, shop: Workspace, arguments: Any, message: str):
    code, _, err = semctl(*arguments)
    assert code == 2
    assert all(part in err for part in message.split(" did ")), err
    assert not list(shop.reports.glob("*.html")) if shop.reports.is_dir() else True


def test_runs_of_different_folds_are_not_compared(semctl: Any, shop: Workspace):
    add_run(shop, "other", fold={"number": 1, "of": 2, "seed": 0, "pool_test": False})
    code, _, err = semctl(RUN, "--against", "other")
    assert code == 2
    assert "their folds differ" in err


def test_against_another_run_cases_are_won_or_lost(semctl: Any, shop: Workspace):
    add_run(shop, "other")
    code, out, _ = semctl(RUN, "--against", "other", "--json")
    assert code == 0
    found = json.loads(out)
    assert found["cases"]["tally"] == {"alike": len(TEXTS) - 1}, "both rank by the same words"
    assert found["rival"] == found["against"] == "other"
    assert found["differences"]["other"]["mean"] == 0
    assert all(case["other_rank"] == case["best_rank"] for case in found["cases"]["shown"])
    assert "0 turns won, 0 lost, 14 alike" in (shop.reports / f"{RUN}.html").read_text()


def test_won_and_lost_turns_are_picked_in_turn_then_what_is_left():
    queries = [(f"d{number}", 1) for number in range(8)]
    mine = np.array([0.5, 0.5, 0.5, 0.5, 0.5, 0.1, 0.2, 0.3])
    other = np.array([0.4, 0.1, 0.2, 0.5, 0.5, 0.4, 0.4, 0.3])
    picked, tally = pick(queries, [mine, other], 8, seed=0)
    assert tally == {"won": 3, "lost": 2, "alike": 3}
    assert [each.outcome for each in picked] == ["won", "lost"] * 2 + ["won"] + ["alike"] * 3
    assert sorted(each.row for each in picked) == list(range(8))
    assert pick(queries, [mine, other], 3, seed=0)[0] == picked[:3]
    alone, tally = pick(queries, [np.array([0, 0.1] * 4)], 8, seed=0)
    assert tally == {"found": 4, "missed": 4}
    assert {each.row % 2: each.outcome for each in alone} == {0: "missed", 1: "found"}


def test_slices_are_means_of_their_queries_with_intervals_by_dialogue():
    mine, theirs = np.array([1.0, 0.0, 0.5, 0.25]), np.array([0.0, 0.5, 0.5, 0.25])
    dialogues = ["a", "a", "b", "c"]
    (group,) = slice_groups({"kind": ["coat", "coat", "coat", "hat"]}, mine, theirs, dialogues)
    coat, hat = group.slices
    assert (coat.name, coat.queries, coat.dialogues, coat.mine.mean) == ("coat", 3, 2, 0.5)
    assert coat.difference.mean == pytest.approx((1.0 - 0.5 + 0.0) / 3)
    assert coat.mine.interval == bootstrap_intervals({"x": mine[:3]}, dialogues[:3])["x"]
    # two dialogues: each sample is a twice, b twice or both; their means are 0.5
    assert coat.mine.interval == (0.5, 0.5)
    assert (hat.queries, hat.dialogues, hat.mine) == (1, 1, Figure(0.25, None))


@pytest.mark.parametrize(("number", "text"), [(0, "0"), (1, "1"), (3, "3 to 4"), (4, "3 to 4"), (7, "5 and more")])
def test_numbers_are_put_into_classes(number: int, text: str):
    assert _count_class(number, (1, 2, 3, 5)) == text


def test_curves_are_those_of_the_log_without_its_broken_line(shop: Workspace):
    figures, losses = training_curves(shop.runs / RUN, 2)
    assert {line.name: line.values for line in figures.lines} == {
        "ndcg@5": ((1.0, 25.0), (2.0, 50.0)),
        "recall@5": ((1.0, 50.0), (2.0, 75.0)),
        "ndcg@10": ((1.0, 50.0), (2.0, 60.0)),
    }
    assert losses.lines == (Line("D_F", ((1.0, 2.0), (2.0, 1.0))),)
    assert training_curves(shop.root, 1) == ()


def test_a_chart_has_round_ticks_and_its_curves_within_it():
    chart = Chart("", "epoch", (Line("a", ((1, 0.0), (11, 100.0))),))
    assert [tick.text for tick in chart.y_ticks] == ["0", "20", "40", "60", "80", "100"]
    assert [tick.text for tick in chart.x_ticks] == ["1", "3", "5", "7", "9", "11"]
    assert chart.points(chart.lines[0]) == f"44.0,{chart.y(0)} 408.0,{chart.y(100)}"
    assert 12 <= chart.y(100) < chart.y(0) <= 208
    flat = Chart("", "epoch", (Line("a", ((1, 3.0),)),))
    assert len(flat.y_ticks) >= 2
    assert flat.points(flat.lines[0]) == "226.0,110.0"


def test_images_become_smaller_until_they_have_room_and_the_last_are_left_out(tmp_path: Path):
    from PIL import Image

    files = {}
    for number in range(12):
        drawn = np.random.default_rng(number).integers(0, 255, (120, 120, 3), dtype=np.uint8)
        files[f"i{number}"] = tmp_path / f"{number}.png"
        Image.fromarray(drawn).save(files[f"i{number}"])
    (tmp_path / "broken.png").write_bytes(b"no image")
    files |= {"again": files["i0"], "broken": tmp_path / "broken.png"}
    wanted = [*files, "gone"]
    large = image_sheet(files, wanted, SilentProgress())
    assert (large.pixels, large.missing, large.left_out, len(large.urls)) == (88, 2, 0, 12)
    assert large.classes["again"] == large.classes["i0"]
    size = sum(map(len, large.urls.values()))
    small = image_sheet(files, wanted, SilentProgress(), room=int(0.8 * size))
    assert small.pixels < 88
    assert sum(map(len, small.urls.values())) <= 0.8 * size
    assert small.left_out == 0
    tiny = image_sheet(files, wanted, SilentProgress(), room=2000)
    assert tiny.pixels == 40
    assert sum(map(len, tiny.urls.values())) <= 2000
    assert tiny.left_out + len(tiny.classes) == 13
    assert "i0" in tiny.classes


@pytest.mark.slow
def test_a_trained_run_is_reported_with_its_states_what_it_believes_and_what_to_label_next(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    generate_corpus(tmp_path / "corpus", GenerateRequest(size="test"))
    shop = Workspace(tmp_path / "shop")
    import_corpus(shop, ImportRequest(tmp_path / "corpus", "mmd"))
    ingest_labels(shop, IngestRequest())
    small = tuple("model.width=8 model.heads=2 model.inner=8 text.product_max_tokens=10".split())
    record = train(shop, TrainRequest(preset="default", labeled_ratio=0.5, epochs=1, settings=small))
    before = sorted(path for path in shop.root.rglob("*") if "labelling" in path.parts)
    assert _run(["-w", str(shop.root), "report", record.run, "--cases", "4", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert set(found["cases"]["explained"]) == {"states", "beliefs", "slots", "turns", "parts"}
    assert _run(["-w", str(shop.root), "evaluate", record.run, "--split", "test", "--candidates", "all", "--json"]) == 0
    evaluated = json.loads(capsys.readouterr().out)
    assert found["evaluation"] == evaluated
    for case in found["cases"]["shown"]:
        assert case["gold"]
        kinds = {chip["kind"] for chip in case["state"]}
        assert kinds <= {"right", "wrong", "missing"}
        assert all(chip["probability"] is not None for chip in case["state"] if chip["kind"] != "missing")
        assert [product["rank"] for product in case["products"]] == sorted(p["rank"] for p in case["products"])
        assert (case["best_rank"] <= 10) == any(product["right"] for product in case["products"])
        assert (case["outcome"] == "found") == (case["figure"] > 0)
    assert "every dialogue" in (found["next"]["missing"] or "") or "is left to choose" in found["next"]["missing"]
    page = (shop.reports / f"{record.run}.html").read_text()
    seen = assert_stays_in_its_file(page)
    assert "joint goal accuracy" in seen.text
    assert "what it ranks by" in seen.text
    assert sorted(path for path in shop.root.rglob("*") if "labelling" in path.parts) == before, "nothing is selected"
