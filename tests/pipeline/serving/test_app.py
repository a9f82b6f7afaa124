"""A real run behind a real server: answers, batches, refusals, and a catalogue that changes meanwhile."""

from __future__ import annotations

import base64
import io
import json
import shutil
import socket
import struct
import time
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import quote, urlsplit

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from pipeline.modelling.conversation import read_conversation
from pipeline.modelling.recommender import Correction, Recommender
from pipeline.serving import forms
from pipeline.serving.app import AppSettings
from pipeline.serving.batching import Limits
from pipeline.serving.guards import RequestLimits
from pipeline.serving.service import Service
from pipeline.workspace import Workspace
from schemas.progress import SilentProgress
from schemas.tables import PRODUCTS, read_table, write_table
from tests.damage import damaged_json, share_of
from tests.hostile_web import image
from tests.served import client, in_thread, said, trained_workspace


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return trained_workspace(tmp_path_factory.mktemp("serving"))


@pytest.fixture(scope="module")
def serving(workspace: Workspace) -> Iterator[tuple[httpx.Client, Service]]:
    with (
        in_thread(workspace, settings=AppSettings(hosts=("127.0.0.1",))) as (address, service),
        client(address) as asking,
    ):
        yield asking, service


@pytest.fixture
def asking(serving: tuple[httpx.Client, Service]) -> httpx.Client:
    return serving[0]


@pytest.fixture
def service(serving: tuple[httpx.Client, Service]) -> Service:
    return serving[1]


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png_of(width: int, height: int) -> bytes:
    """A PNG that says it is that large."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = ((b"IHDR", header), (b"IDAT", zlib.compress(bytes(1_000_000))), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)


def in_base64(content: bytes) -> str:
    return base64.b64encode(content).decode()


def conversations(service: Service) -> list[dict[str, object]]:
    """The dialogues of the corpus as requests."""
    corpus = service.shop.recommender.corpus
    return [
        {
            "turns": [
                {"speaker": one.speaker, "text": one.text, "images": list(one.image_ids)}
                for _, one in corpus.utterances(dialogue)[:9]
            ],
            "top": 7,
        }
        for dialogue in corpus.splits
    ]


def test_answers_are_those_of_the_run(asking: httpx.Client, service: Service, workspace: Workspace):
    asked = conversations(service)[3]
    answer = forms.RecommendAnswer.model_validate_json(asking.post("/recommend", json=asked).content)
    alone = Recommender.open(workspace)
    conversation = read_conversation({"turns": asked["turns"]}, alone.corpus, where="here")
    expected = alone.recommend([conversation], top=7)[0]
    assert [one.product_id for one in answer.products] == [one.product_id for one in expected.products]
    assert [one.score for one in answer.products] == pytest.approx([one.score for one in expected.products], abs=1e-4)
    assert [one.rank for one in answer.products] == [1, 2, 3, 4, 5, 6, 7]
    states = alone.states([conversation])
    assert states is not None
    assert answer.state is not None
    believed = {(slot.slot, each.value, each.polarity) for slot in answer.state for each in slot.values}
    assert believed == {(one.slot, one.value, one.polarity) for one in states[0].state}
    rows = {row["product_id"]: row for row in read_table(workspace.products, PRODUCTS).to_pylist()}
    for one in answer.products:
        row = rows[one.product_id]
        assert (one.name, one.price, one.images) == (row["name"], row["price"], row["image_ids"])
        assert one.attributes == dict(row["attributes"])
        assert all(one.attributes[name] == values for name, values in one.further.items())
    state = forms.StateAnswer.model_validate_json(asking.post("/state", json={"turns": asked["turns"]}).content)
    assert state.state == answer.state


def test_clients_at_once_are_answered_as_if_alone_and_in_batches(asking: httpx.Client, service: Service):
    asked = conversations(service)
    alone = [asking.post("/recommend", json=each).json() for each in asked]
    with ThreadPoolExecutor(len(asked)) as pool:
        together = list(pool.map(lambda each: asking.post("/recommend", json=each).json(), asked))
    for one, other in zip(alone, together, strict=True):
        scores = {each["product_id"]: each["score"] for each in one["products"]}
        assert [each["score"] for each in other["products"]] == pytest.approx(
            sorted(scores.values(), reverse=True), abs=1e-4
        )
        assert one["catalogue"] == other["catalogue"]
    counted = dict(line.rsplit(" ", 1) for line in asking.get("/metrics").text.splitlines() if line[0] != "#")
    batches, requests = float(counted["semctl_batch_requests_count"]), float(counted["semctl_batch_requests_sum"])
    assert requests >= 2 * len(asked)
    assert batches < requests
    assert float(counted['semctl_requests_total{route="/recommend",status="200"}']) >= 2 * len(asked)


def test_filters_different_products_and_reasons(asking: httpx.Client, service: Service):
    asked = said("I am looking for a dress", top=100, explain=True)
    prices = sorted(row.price for row in service.shop.recommender.corpus.products if row.price is not None)
    limit = prices[len(prices) // 3]
    answer = forms.RecommendAnswer.model_validate_json(
        asking.post("/recommend", json={**asked, "where": f"price < {limit}"}).content
    )
    assert answer.fitting == len(answer.products) == sum(price < limit for price in prices) > 0
    assert all(product.price is not None and product.price < limit for product in answer.products)
    for product in answer.products:
        assert product.why
        weights = [abs(reason.weight or 0) for reason in product.why]
        assert weights == sorted(weights, reverse=True)
    wrong = asking.post("/recommend", json={**asked, "where": "colour is red"})
    assert (wrong.status_code, wrong.json()["error"]["kind"]) == (422, "FilterError")
    plain, spread = (
        [
            each["product_id"]
            for each in asking.post("/recommend", json={**asked, "diversify": share}).json()["products"]
        ]
        for share in (0, 0.9)
    )
    assert plain[0] == spread[0]
    assert plain != spread


def test_a_corrected_belief_changes_state_and_ranking(asking: httpx.Client, service: Service):
    ontology = service.shop.recommender.ontology
    assert ontology is not None
    slot = next(slot for slot in ontology.slots if slot.name == "colors")
    value = slot.offered[0].value
    asked = said("I am looking for something nice", top=5)
    plain = asking.post("/recommend", json=asked).json()
    corrected = asking.post("/recommend", json={**asked, "corrections": [{"slot": "colors", "like": [value]}]}).json()
    told = next(each for each in corrected["state"] if each["slot"] == "colors")
    assert told["corrected"]
    assert [(each["value"], each["polarity"]) for each in told["values"]] == [(value, "like")]
    by_itself = next((each["values"] for each in plain["state"] if each["slot"] == "colors"), [])
    assert [each["value"] for each in told["read"]] == [each["value"] for each in by_itself]
    recommender = service.shop.recommender
    conversation = read_conversation({"turns": asked["turns"]}, recommender.corpus, where="here")
    expected = recommender.recommend([conversation], top=5, corrections=[[Correction("colors", (value,))]])[0]
    assert [each["product_id"] for each in corrected["products"]] == [each.product_id for each in expected.products]
    assert [each["score"] for each in corrected["products"]] != [each["score"] for each in plain["products"]]
    nothing = asking.post("/state", json={**said("red"), "corrections": [{"slot": "colors"}]}).json()["state"]
    assert [each["values"] for each in nothing if each["slot"] == "colors"] == [[]]


def test_an_image_of_the_catalogue_can_be_named_sent_or_meant_by_its_product(asking: httpx.Client, service: Service):
    corpus = service.shop.recommender.corpus
    product = next(product for product in corpus.products if product.image_file is not None)
    assert product.image_file is not None
    content = product.image_file.read_bytes()

    def scores(name: str, images: dict[str, str]) -> list[float]:
        asked = {"turns": [{"speaker": "user", "text": "like this", "images": [name]}], "images": images, "top": 5}
        return [each["score"] for each in asking.post("/recommend", json=asked).json()["products"]]

    named = scores(str(product.image_id), {})
    assert scores(product.product_id, {}) == pytest.approx(named, abs=1e-5)
    assert scores("mine", {"mine": in_base64(content)}) == pytest.approx(named, abs=1e-5)
    assert scores("mine", {"mine": f"data:image/png;base64,{in_base64(content)}"}) == pytest.approx(named, abs=1e-5)
    other = io.BytesIO()
    Image.new("RGB", (300, 200), "red").save(other, "WEBP")
    assert scores("mine", {"mine": in_base64(other.getvalue())}) != pytest.approx(named, abs=1e-5)


def turn(**more: object) -> dict[str, object]:
    return {"turns": [{"speaker": "user", "text": "x", **more}]}


REFUSED: dict[str, tuple[object, int, str]] = {
    "a 50,000 x 50,000 image": (
        {**turn(images=["a"]), "images": {"a": in_base64(png_of(50_000, 50_000))}}, 422, "too many pixels"),
    "an image of just too many pixels": (
        {**turn(images=["a"]), "images": {"a": in_base64(png_of(10_000, 9_000))}}, 422, "too many pixels"),
    "no image": ({**turn(images=["a"]), "images": {"a": in_base64(b"MZ\x90")}}, 422, "not an image"),
    "an image that nobody shows": ({**turn(), "images": {"a": in_base64(b"GIF89a")}}, 422, "not an image"),
    "100 MB": (b"[" * 100_000_000, 413, "too large"),
    "deep JSON": (b"[" * 1_000_000, 400, "parsing"),
    "broken JSON": (b'{"turns": [', 400, "not JSON"),
    "an empty body": (b"", 422, "JSON object"),
    "a list": (b"[]", 422, "JSON object"),
    "not UTF-8": (b'{"turns": "\xff"}', 400, "parsing"),
    "half a surrogate": (b'{"turns":[{"speaker":"user","text":"\\ud800"}]}', 422, "unicode"),
    "NaN": (b'{"turns":[{"speaker":"user","text":"x"}],"top":NaN}', 422, "finite"),
    "a file's address": (turn(images=["file:///etc/passwd"]), 422, "addresses are not fetched"),
    "an address of a private network": (turn(images=["http://10.0.0.1/a.png"]), 422, "addresses are not fetched"),
    "an address for content": (
        {**turn(images=["a"]), "images": {"a": "http://169.254.169.254/latest/"}}, 422, "addresses are not fetched"),
    "an address where none belongs": ({**turn(), "image_url": "http://10.0.0.1/"}, 422, "extra inputs"),
    "a path": (turn(images=["../../../../etc/passwd"]), 422, "no image"),
    "a slot that there is not": ({**turn(), "corrections": [{"slot": "coluors"}]}, 422, "did you mean 'colors'"),
    "a value that there is not": ({**turn(), "corrections": [{"slot": "colors", "like": ["blak"]}]}, 422, "no value"),
    "a slot twice": ({**turn(), "corrections": [{"slot": "colors"}, {"slot": "colors"}]}, 422, "twice"),
    "nobody": ({"turns": [{"speaker": "cat", "text": "x"}]}, 422, "'user' or 'system'"),
    "nothing": ({"turns": []}, 422, "at least 1"),
    "the system alone": ({"turns": [{"speaker": "system", "text": "x"}]}, 422, "user says nothing"),
    "silence": (turn(text=" "), 422, "says and shows nothing"),
    "a novel": (turn(text="x" * 4001), 422, "at most 4000"),
    "too many turns": ({"turns": [{"speaker": "user", "text": "x"}] * 201}, 422, "at most 200"),
    "too many products": ({**turn(), "top": 101}, 422, "less than or equal to 100"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_answered_is_told_and_the_server_lives_on(asking: httpx.Client, name: str):
    body, status, what = REFUSED[name]
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    answer = asking.post("/recommend", content=content, headers={"Content-Type": "application/json"})
    assert answer.status_code == status, answer.text
    error = forms.ErrorAnswer.model_validate_json(answer.content).error
    assert what in f"{error.what}; {error.fix}"
    assert asking.get("/health").json()["status"] == "ok"
    assert asking.post("/recommend", json=said("a dress", top=1)).status_code == 200


def test_what_a_form_of_another_page_can_send_is_refused(asking: httpx.Client):
    for kind in ("application/x-www-form-urlencoded", "text/plain", "multipart/form-data; boundary=x"):
        content = json.dumps(said("x")).encode()
        assert asking.post("/recommend", content=content, headers={"Content-Type": kind}).status_code == 415
    bare = asking.build_request("POST", "/recommend", content=json.dumps(said("x")).encode())
    assert "content-type" not in bare.headers
    assert asking.send(bare).status_code == 422
    answer = asking.get("/version", headers={"Host": "rebound.example"})
    assert (answer.status_code, answer.json()["error"]["kind"]) == (421, "Refused")
    assert "access-control-allow-origin" not in asking.get("/version", headers={"Origin": "http://x.example"}).headers


@pytest.mark.parametrize(
    "path", ["/nope", "/docs", "/redoc", "/page/../service.py", "/images/", "/images/..%2f..%2fetc"]
)
def test_nothing_else_is_served(asking: httpx.Client, path: str):
    answer = asking.get(path)
    assert answer.status_code == 404
    forms.ErrorAnswer.model_validate_json(answer.content)
    wrong = asking.get("/recommend")
    assert (wrong.status_code, wrong.json()["error"]["what"]) == (405, "GET is not served here")


def test_products_and_images_of_the_catalogue(asking: httpx.Client, service: Service, tmp_path: Path):
    corpus = service.shop.recommender.corpus
    product = next(product for product in corpus.products if product.image_file is not None)
    assert product.image_file is not None
    answer = forms.ProductAnswer.model_validate_json(
        asking.get(f"/products/{quote(product.product_id, safe='')}").content
    )
    assert (answer.name, answer.images[0]) == (product.name, product.image_id)
    path = f"/images/{quote(answer.images[0], safe='')}"
    image = asking.get(path)
    assert image.content == product.image_file.read_bytes()
    assert image.headers["content-type"].startswith("image/")
    assert "sandbox" in image.headers["content-security-policy"]
    width, height = Image.open(io.BytesIO(image.content)).size
    for _ in range(2):  # the second time it is remembered
        small = Image.open(io.BytesIO(asking.get(path, params={"side": 32}).content))
        assert small.format == "JPEG"
        assert max(small.size) == 32
        assert small.width / small.height == pytest.approx(width / height, rel=0.1)
    assert asking.get(path, params={"side": 5}).status_code == 422
    kept = tmp_path / "kept"
    shutil.move(product.image_file, kept)
    try:
        product.image_file.symlink_to(kept)
        assert asking.get(path).status_code == 404, "links are not followed"
    finally:
        product.image_file.unlink(missing_ok=True)
        shutil.move(kept, product.image_file)
    assert asking.get(path).status_code == 200


def test_the_description_has_examples_that_are_answered(asking: httpx.Client, service: Service):
    described = asking.get("/openapi.json").json()
    assert {
        "/recommend",
        "/state",
        "/products/{product_id}",
        "/images/{image_id}",
        "/health",
        "/version",
        "/metrics",
        "/setup",
        "/predict",
        "/webhook",
    } == (set(described["paths"]))
    schemas = described["components"]["schemas"]
    png = io.BytesIO()
    Image.new("RGB", (8, 8)).save(png, "PNG")
    image = service.shop.recommender.corpus.products[0].product_id
    for path, name in (("/recommend", "RecommendForm"), ("/state", "StateForm")):
        assert len(schemas[name]["examples"]) > 1
        for example in schemas[name]["examples"]:
            text = json.dumps(example).replace("an image id or a product id", image)
            text = text.replace("iVBORw0KGgo... (the file in base64)", in_base64(png.getvalue()))
            text = text.replace('"color"', '"colors"').replace('"type"', '"types"')  # as this shop calls them
            answer = asking.post(path, content=text.encode(), headers={"Content-Type": "application/json"})
            assert answer.status_code == 200, (example, answer.text)


def test_the_page_may_load_nothing_from_elsewhere(asking: httpx.Client):
    page = asking.get("/")
    policy = dict(part.strip().partition(" ")[::2] for part in page.headers["content-security-policy"].split(";"))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    for name in ("/page.js", "/page.css", "/icon.svg"):
        assert name[1:] in page.text
        assert asking.get(name).status_code == 200
    everything = page.text + asking.get("/page.js").text + asking.get("/page.css").text
    assert "http:" not in everything.replace("http://www.w3.org", "")
    assert "https:" not in everything
    assert not any(word in everything for word in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write"))


def test_with_a_key_all_but_the_page_and_health_ask_for_it(workspace: Workspace):
    key = "0123456789abcdef-secret"
    with in_thread(workspace, settings=AppSettings(api_key=key)) as (address, _), client(address) as nobody:
        assert [nobody.get(path).status_code for path in ("/", "/page.js", "/health")] == [200, 200, 200]
        closed = ("/version", "/metrics", "/openapi.json", "/products/x", "/images/x", "/nope")
        assert {nobody.get(path).status_code for path in closed} == {401}
        for wrong in ("", "Bearer", f"Bearer {key}x", f"Basic {key}", "Bearer \xe9".encode("latin-1")):
            refused = nobody.post("/recommend", json=said("x"), headers={"Authorization": wrong})
            assert refused.status_code == 401
            assert refused.headers["www-authenticate"].startswith("Bearer")
        with client(address, Authorization=f"Bearer {key}") as known:
            assert known.get("/version").status_code == 200
            assert known.post("/recommend", json=said("x")).status_code == 200
            assert 'status="401"' in known.get("/metrics").text


def test_who_is_too_many_or_too_slow_hears_so(workspace: Workspace):
    limits = RequestLimits(seconds=0.3)
    with in_thread(workspace, settings=AppSettings(batches=Limits(waiting=0), limits=limits)) as (address, _):
        with client(address) as asking:
            busy = asking.post("/recommend", json=said("x"))
            assert (busy.status_code, busy.headers["retry-after"]) == (503, "1")
            assert asking.get("/health").status_code == 200
        place = urlsplit(address)
        with socket.create_connection((str(place.hostname), int(place.port or 0)), timeout=20) as slow:
            slow.sendall(
                b"POST /recommend HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n{"
            )
            assert slow.recv(4096).startswith(b"HTTP/1.1 408")
        with socket.create_connection((str(place.hostname), int(place.port or 0)), timeout=20) as gone:
            gone.sendall(
                b"POST /recommend HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n{"
            )
        with client(address) as asking:
            assert asking.get("/health").status_code == 200


def wait_for(asking: httpx.Client, what: str, other_than: object) -> object:
    """What ``/health`` says once it says something else."""
    for _ in range(1200):
        found = asking.get("/health").json()[what]
        if found != other_than:
            return found
        time.sleep(0.05)
    raise AssertionError(f"{what} is still {other_than}")


REQUEST = {
    "turns": [
        {"speaker": "user", "text": "like this one, in red", "images": ["mine"]},
        {"speaker": "system", "text": "this?", "images": []},
        {"speaker": "user", "text": "cheaper"},
    ],
    "images": {"mine": in_base64(image(1))},
    "corrections": [{"slot": "colors", "like": ["red"], "dislike": []}],
    "top": 3,
    "where": "price < 50",
    "diversify": 0.5,
    "explain": True,
}


def test_a_damaged_request_is_answered_or_refused_as_json(asking: httpx.Client):
    @share_of("request")
    @given(st.sampled_from(("/recommend", "/state")), damaged_json(REQUEST))
    def check(path: str, content: bytes) -> None:
        answer = asking.post(path, content=content, headers={"content-type": "application/json"})
        assert answer.status_code == 200 or 400 <= answer.status_code < 500, answer.text
        assert isinstance(answer.json(), dict)
        assert ("error" in answer.json()) == (answer.status_code != 200)

    assert asking.post("/recommend", json=REQUEST).status_code == 200
    check()
    assert asking.get("/health").json()["status"] == "ok"


def test_a_catalogue_that_changes_is_served_without_a_restart(workspace: Workspace, tmp_path: Path):
    shop = Workspace(tmp_path / "shop")
    shutil.copytree(workspace.root, shop.root, symlinks=True)
    rows = read_table(shop.products, PRODUCTS).to_pylist()
    with in_thread(shop) as (address, _), client(address) as asking:
        first = asking.get("/health").json()
        best = asking.post("/recommend", json=said("a dress", top=1)).json()["products"][0]
        twin = next(row for row in rows if row["product_id"] == best["product_id"])
        added = {**twin, "product_id": f"{twin['product_id']}-new", "name": twin["name"], "price": 1.5}
        write_table(shop.products, PRODUCTS, sorted([*rows, added], key=lambda row: row["product_id"]))
        second = wait_for(asking, "catalogue", first["catalogue"])
        answer = asking.post("/recommend", json=said("a dress", top=2)).json()
        assert answer["catalogue"] == second
        assert {each["product_id"] for each in answer["products"]} == {twin["product_id"], added["product_id"]}
        assert asking.get(f"/products/{quote(added['product_id'])}").json()["price"] == 1.5
        whole = shop.products.read_bytes()
        shop.products.write_bytes(whole[:-100])
        assert "products.parquet" in str(wait_for(asking, "update", None))
        kept = asking.post("/recommend", json=said("a dress", top=2)).json()
        assert (kept["catalogue"], kept["products"]) == (second, answer["products"])
        write_table(shop.products, PRODUCTS, rows)
        third = wait_for(asking, "catalogue", second)
        assert third != second
        assert asking.get("/health").json() == {
            "status": "ok",
            "catalogue": third,
            "products": len(rows),
            "update": None,
        }
        assert asking.get(f"/products/{quote(added['product_id'])}").status_code == 404
        counted = asking.get("/metrics").text
        assert 'semctl_catalogue_updates_total{outcome="served"} 2.0' in counted
        assert 'semctl_catalogue_updates_total{outcome="failed"}' in counted


def test_a_start_finds_the_encoded_catalogue_of_the_last_one(workspace: Workspace):
    one, other = (
        Service(workspace, "latest", images=True, product_table="float32", progress=SilentProgress()) for _ in range(2)
    )
    folders = list((workspace.features / "products" / one.run).iterdir())
    assert len(folders) == 1
    asked = [one.question(forms.RecommendForm.model_validate(said("a red dress")))]
    assert one.answer(asked) == other.answer(asked)
