from __future__ import annotations

import gzip
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import pytest

from annotate.label_studio import bounded_answers
from annotate.label_studio.bounded_answers import MIB
from annotate.label_studio.gateway import Gateway
from annotate.label_studio.plain_http import ask, send
from schemas.errors import ServiceError


class Talker(BaseHTTPRequestHandler):
    """Says ``{"said": "aa..."}`` of the length that the address asks for, packed where it says so."""

    def do_GET(self) -> None:
        asked = parse_qs(urlsplit(self.path).query)
        body = json.dumps({"said": "a" * int(asked.get("size", [str(2 * MIB)])[0])}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        if "packed" in asked:
            body = gzip.compress(body)
            self.send_header("Content-Encoding", "gzip")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        del args


@pytest.fixture
def talker(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setattr(bounded_answers, "LARGEST_ANSWER", MIB)
    monkeypatch.setattr(bounded_answers, "LARGEST_EXPORT", 4 * MIB)
    with ThreadingHTTPServer(("127.0.0.1", 0), Talker) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.parametrize("packed", ["", "&packed=1"])
def test_an_answer_below_the_bound_is_read_as_it_was_sent(talker: str, packed: str):
    answer = send("GET", f"{talker}/api/x?size=1000{packed}", 10)
    assert answer.json() == {"said": "a" * 1000}
    assert ask(talker, f"/api/x?size=1000{packed}").value("said") == "a" * 1000


@pytest.mark.parametrize("packed", ["", "&packed=1"])
@pytest.mark.parametrize(("path", "size", "bound"), [("/api/x", 2 * MIB, 1), ("/api/projects/1/export", 5 * MIB, 4)])
def test_a_larger_one_is_refused_in_one_line_however_small_it_came(
    talker: str, path: str, size: int, bound: int, packed: str
):
    with pytest.raises(ConnectionError, match=f"larger than {bound} MiB") as problem:
        send("GET", f"{talker}{path}?size={size}{packed}", 10)
    assert "\n" not in str(problem.value)
    answer = ask(talker, f"{path}?size={size}{packed}")
    assert (answer.status, answer.body) == (None, {})


def test_an_export_may_be_larger_than_other_answers(talker: str):
    assert len(send("GET", f"{talker}/api/projects/1/export?size={2 * MIB}", 10).json()["said"]) == 2 * MIB


def test_logging_in_where_an_endless_answer_comes_is_a_service_error(talker: str):
    with pytest.raises(ServiceError, match="larger than 1 MiB") as problem:
        Gateway(talker, "key")
    assert "LABEL_STUDIO_URL" in str(problem.value)
