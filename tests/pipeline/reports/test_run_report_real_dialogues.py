"""The size of a report with 500 cases of 460 real dialogues, with images of all 288 products."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from pipeline.cli import _run
from pipeline.modelling.train import TrainRequest, train
from pipeline.workspace import Workspace
from tests.pipeline.reports.page_markup import assert_stays_in_its_file

pytestmark = [pytest.mark.realdata, pytest.mark.slow, pytest.mark.timeout(1800)]


def test_500_cases_stay_below_5_megabytes_with_each_image_once(
    shared_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    shop = Workspace(tmp_path / "shop")
    corpus = str(shared_data / "simmc2_fashion_mmd")
    assert _run(["-q", "-w", str(shop.root), "import", corpus, "--format", "mmd"]) == 0
    assert _run(["-q", "-w", str(shop.root), "ingest-labels"]) == 0
    small = tuple("model.width=8 model.heads=2 model.inner=8 text.product_max_tokens=10".split())
    record = train(shop, TrainRequest(preset="default", labeled_ratio=0.05, epochs=1, settings=small))
    capsys.readouterr()
    assert _run(["-q", "-w", str(shop.root), "report", record.run, "--split", "train", "--cases", "500", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    page = Path(found["file"]).read_text()
    assert len(found["cases"]["shown"]) == 500
    assert len({(case["dialogue_id"], case["turn"]) for case in found["cases"]["shown"]}) == 500
    assert found["bytes"] == len(page.encode()) < 5_000_000
    images = re.findall(r"url\((data:image/webp;base64,[^)]*)\)", page)
    assert len(images) == len(set(images)) > 200
    assert set(found["cases"]["explained"]) == {"states", "beliefs", "slots", "turns", "parts"}
    kinds = {part["name"] for group in found["slices"] for part in group["slices"]}
    assert {"coat", "dress", "jeans", "with images", "without images"} <= kinds
    assert_stays_in_its_file(page)
