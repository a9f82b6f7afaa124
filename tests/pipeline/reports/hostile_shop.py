"""A shop whose texts are made to break a page, ranked by word overlap, which needs no training."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipeline.workspace import Workspace
from schemas.ontology import Ontology, Slot, Value
from schemas.tables import IMAGES, PRODUCTS, RECOMMENDATIONS, TURNS, write_table
from semantic_model.models.tfidf import TfIdf
from tests.labelling_corpus import PAYLOADS

RUN = "tiny-r0-s0-abcdef"
TURNED, ANSI, LONG = "\u202eneddih\u202c x", "\x1b[31mred\x1b[0m\x00", "long " * 2000
TEXTS = (*PAYLOADS, TURNED, ANSI, LONG, "']\"}</style><script>window.fired=12</script>", "שלום \u2066 dress")


class Model(TfIdf):
    """Stands for a trained model."""

    name = "semantic"


def make_shop(root: Path) -> Workspace:
    """A product, with an image of its own, and a dialogue for each of the texts, which both say."""
    space = Workspace(root).create()
    products: list[dict[str, Any]] = []
    images: list[dict[str, Any]] = []
    turns: list[dict[str, Any]] = []
    recommendations: list[dict[str, Any]] = []
    for number, text in enumerate(TEXTS):
        file = root / "images" / f"{number}.png"
        file.parent.mkdir(exist_ok=True)
        drawn = np.random.default_rng(number).integers(0, 255, (40, 30, 3), dtype=np.uint8)
        Image.fromarray(drawn).save(file)
        shown = {"url": None, "sha256": None, "width": 30, "height": 40}
        images.append({"image_id": f"i{number:02}", "file": str(file), "status": "ok", **shown})
        product = {"product_id": f"p{number:02}", "name": text, "description": text, "price": None, "currency": None}
        attributes = [("type", [text[:200]]), (text[:200], ["x"])]
        products.append({**product, "attributes": attributes, "image_ids": [f"i{number:02}"], "source": "test"})
        dialogue = f"d{number:02}<b>{text[:40]}"
        said = {"dialogue_id": dialogue, "act": "", "split": "test" if number else "train"}
        turns += [
            {**said, "turn": 0, "speaker": "user", "text": text, "image_ids": [f"i{number:02}", "gone"]},
            {**said, "turn": 1, "speaker": "system", "text": text, "image_ids": []},
        ]
        wrong = [f"p{other:02}" for other in range(len(TEXTS)) if other != number][:5]
        lists = {"positives": [f"p{number:02}"], "negatives": wrong}
        listed = {"positives_listed": lists["positives"], "negatives_listed": wrong}
        recommendations.append({"dialogue_id": dialogue, "turn": 1, **lists, **listed, "split": said["split"]})
    nothing = dict.fromkeys(("file", "url", "sha256", "width", "height"))
    images.append({"image_id": "gone", "status": "missing", **nothing})
    values = tuple(Value(value=text[:200], count=1) for text in dict.fromkeys(PAYLOADS))
    write_table(space.products, PRODUCTS, products)
    write_table(space.images, IMAGES, images)
    write_table(space.turns, TURNS, sorted(turns, key=lambda row: (row["dialogue_id"], row["turn"])))
    write_table(space.recommendations, RECOMMENDATIONS, recommendations)
    Ontology(slots=(Slot(name="<i>type</i>", attribute="type", values=values),)).write(space.ontology_file)
    add_run(space, RUN)
    return space


def add_run(space: Workspace, name: str, **more: Any) -> None:
    """A run that was trained to its end, as far as its record says."""
    folder = space.runs / name
    folder.mkdir(parents=True)
    best = {"epoch": 2, "ndcg@5": 0.5}
    versions = {"semctl": "0.1.0"}
    record = {"run": name, "best": best, "words": TEXTS[0], "pictures": TURNED, "preset": TEXTS[1], "slots": [TEXTS[2]]}
    (folder / "record.json").write_text(json.dumps({**record, "epochs": 2, "versions": versions, **more}))
    lines = [
        {"kind": "step", "step": 1, "loss": 9.0},
        {"kind": "epoch", "step": 2, "epoch": 1, "D_F.loss": 2.0, "ndcg@5": 0.25, "recall@5": 0.5, "ndcg@10": 0.5},
        {"kind": "epoch", "step": 4, "epoch": 2, "D_F.loss": 1.0, "ndcg@5": 0.5, "recall@5": 0.75, "ndcg@10": 0.6},
    ]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (folder / "metrics.jsonl").write_text(text + '{"kind": "epoch", "ep')


def rank_by_words(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every run of the shop rank by word overlap."""
    for where in ("pipeline.modelling.evaluate", "pipeline.reports.run_report", "pipeline.selection.runs"):
        monkeypatch.setattr(f"{where}.open_ranker", lambda folder, corpus, **_: Model().fit(corpus))
