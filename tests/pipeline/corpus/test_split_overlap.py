"""Dialogues and images that several splits share, by hand and against a comparison of all pairs."""

from __future__ import annotations

import json
from itertools import combinations
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from pipeline.cli import _run
from pipeline.corpus.split_overlap import ALIKE, alike

SPLITS = {f"d{n}": ("train", "valid", "test")[n % 3] for n in range(9)}


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(st.sampled_from(sorted(SPLITS)), st.sets(st.integers(0, 14), max_size=13)))
def test_pairs_are_those_that_a_comparison_of_all_finds(said: dict[str, set[int]]):
    expected = {
        (one, two)
        for one, two in combinations(sorted(said), 2)
        if SPLITS[one] != SPLITS[two] and len(said[one] & said[two]) >= ALIKE * max(len(said[one]), len(said[two]))
    }
    found = list(alike(said, SPLITS))
    assert len(found) == len(set(found))
    assert set(found) == expected


def test_stats_report_what_splits_share(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    corpus = tmp_path / "corpus"
    (corpus / "images").mkdir(parents=True)
    for name, color in (("me.png", "red"), ("copy.png", "red"), ("other.png", "blue"), ("p1.png", "green")):
        Image.new("RGB", (4, 4), color).save(corpus / "images" / name)

    def dialogue(name: str, split: str, *texts: str, image: str) -> dict[str, object]:
        turns = []
        for text in texts:
            turns += [{"speaker": "user", "text": text}, {"speaker": "system", "text": f"{text}?", "positives": ["p1"]}]
        turns[0]["images"] = [image]
        return {"dialogue_id": name, "split": split, "turns": turns}

    words = ("one", "two", "three", "four", "five")
    dialogues = [
        dialogue("a", "train", *words, image="me.png"),
        dialogue("b", "test", "One ", *words[1:], image="copy.png"),  # the same, and the same image by another name
        dialogue("c", "valid", *words[:4], "six", image="other.png"),  # 8 of 10 utterances: not alike
        dialogue("d", "train", *words, image="other.png"),  # as a, in its split; its image is in valid, too
    ]
    (corpus / "dialogues.jsonl").write_text("".join(json.dumps(each) + "\n" for each in dialogues))
    (corpus / "products.jsonl").write_text(json.dumps({"product_id": "p1", "images": ["p1.png"]}) + "\n")
    shop = str(tmp_path / "shop")
    assert _run(["-q", "-w", shop, "import", str(corpus), "--format", "jsonl"]) == 0
    capsys.readouterr()
    assert _run(["-w", shop, "stats", "--json"]) == 0
    shared = json.loads(capsys.readouterr().out)["shared"]
    assert shared["dialogues"] == {"train": 2, "test": 1}
    assert shared["images"] == {"train": 2, "test": 1, "valid": 1}
    assert shared["examples"] == [["a", "b"], ["b", "d"]]
    assert _run(["-w", shop, "stats"]) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "nearly as in another split" in told
    assert "nearly the same in two splits: a and b, b and d" in told
