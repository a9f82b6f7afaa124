"""Images from servers that answer well, badly, and on purpose: what comes of each link, within which bounds."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from pipeline.corpus import image_fetching
from pipeline.corpus.host_queues import Errand, HostQueues
from pipeline.corpus.image_fetching import REASONS, Fetched, ImageFetcher, Limits, host_of
from pipeline.corpus.web_addresses import AllowedHosts, checked_url
from schemas.files import sha256_bytes
from tests.hostile_web import Web, hostile_web, image, listener

PATIENT = Limits(connect=20, read=30, total=60, size=100_000, tries=2, first_wait=0.02, longest_pause=1.0, failures=50)
HASTY = Limits(connect=20, read=0.4, total=1.0, tries=1)


@pytest.fixture
def web() -> Iterator[Web]:
    with hostile_web() as found:
        yield found


def fetch(folder: Path, links: Sequence[str], hosts: Sequence[str], **options: Any) -> list[Fetched]:
    options = {"limits": PATIENT, "delay": 0.0, "per_host": 8, **options}
    fetcher = ImageFetcher(folder, "images", allowed=AllowedHosts.parse(hosts), user_agent="semctl/test", **options)
    found = {each.link: each for each in fetcher.fetch(links)}
    assert len(found) == len(links)
    return [found[link] for link in links]


def test_an_image_lies_in_a_file_named_by_its_content(web: Web, tmp_path: Path) -> None:
    links = [web.url(path) for path in ("/ok/7", "/kind/JPEG", "/kind/WEBP", "/kind/GIF")]
    found = fetch(tmp_path, links, [web.host])
    kinds = [(image(7), ".png"), *((image(1, kind), suffix) for kind, suffix in (("JPEG", ".jpg"), ("WEBP", ".webp")))]
    for each, (content, suffix) in zip(found, [*kinds, (image(1, "GIF"), ".gif")], strict=True):
        sha256 = sha256_bytes(content)
        assert (each.status, each.sha256, each.bytes) == ("ok", sha256, len(content))
        assert each.file == f"images/{sha256[:2]}/{sha256}{suffix}"
        assert (tmp_path / sha256[:2] / f"{sha256}{suffix}").read_bytes() == content
        assert (each.width, each.height, each.tries, each.http_status) == (8, 6, 1, 200)
        assert each.came_from == each.link
    assert len([path for path in tmp_path.rglob("*") if path.is_file()]) == 4
    told = web.headers[0]
    assert (told["User-Agent"], told["Accept-Encoding"], told["Host"]) == ("semctl/test", "identity", web.host)
    assert "Cookie" not in told


def test_a_link_is_asked_for_as_it_is_written(web: Web, tmp_path: Path) -> None:
    (found,) = fetch(tmp_path, [web.url("/spelled/a%2Fb c.png?x=%2B")], [web.host])
    assert found.status == "ok"
    assert found.came_from == web.url("/spelled/a%2Fb%20c.png")  # no query: it may hold a key


def test_what_servers_do_wrong_ends_as_what_it_is(web: Web, tmp_path: Path) -> None:
    expected = {
        "/nothing": ("dead", "not_found", 404),
        "/status/410": ("dead", "not_found", 410),
        "/status/403": ("dead", "forbidden", 403),
        "/status/400": ("dead", "other_status", 400),
        "/status/206": ("dead", "other_status", 206),
        "/status/503": ("dead", "server_failed", 503),
        "/page": ("broken", "not_an_image", 200),
        "/svg": ("broken", "unsupported_format", 200),
        "/kind/BMP": ("broken", "not_an_image", 200),  # sent as a file of any kind
        "/bomb": ("broken", "too_many_pixels", 200),
        "/damaged": ("broken", "not_an_image", 200),
        "/empty": ("broken", "not_an_image", 200),
        "/packed": ("broken", "packed", 200),
        "/announced": ("broken", "too_many_bytes", 200),
        "/endless": ("broken", "too_many_bytes", 200),
        "/endless-page": ("broken", "not_an_image", 200),
        "/cut": ("dead", "cut_off", None),
        "/gone": ("dead", "cut_off", None),
        "/other-protocol": ("dead", "cut_off", None),
        "/long-head": ("dead", "cut_off", None),
        "/loop": ("dead", "too_many_redirects", None),
        "/to/": ("dead", "bad_redirect", 302),
        "/to/http%3A%2F%2F%5B": ("dead", "refused_link", None),
    }
    found = fetch(tmp_path, [web.url(path) for path in expected], [web.host], per_host=16, parallel=30)
    assert {path: (each.status, each.reason, each.http_status) for path, each in zip(expected, found, strict=True)} == (
        expected
    )
    assert list(tmp_path.rglob("*.*")) == []
    tries = {path: each.tries for path, each in zip(expected, found, strict=True)}
    assert tries == {path: 2 if REASONS[reason][0] else 1 for path, (_, reason, _) in expected.items()}
    assert web.sent["/endless-page"] < 20_000_000  # a connection's buffers, and no more


def test_no_image_takes_longer_than_it_may(web: Web, tmp_path: Path) -> None:
    paths = ("/drip", "/drip-head", "/early-hints", "/stall")
    found = fetch(tmp_path, [web.url(path) for path in paths], [web.host], limits=HASTY)
    assert [(each.status, each.reason) for each in found] == [("dead", "too_slow")] * 4
    assert all(HASTY.read <= each.seconds < 100 for each in found)  # the drip alone would take four minutes


def test_redirects_are_followed_three_times_and_no_further(web: Web, tmp_path: Path) -> None:
    three, four = fetch(tmp_path, [web.url("/hops/3"), web.url("/hops/4")], [web.host])
    assert (three.status, three.came_from, three.tries) == ("ok", web.url("/hops/0"), 1)
    assert (four.status, four.reason) == ("dead", "too_many_redirects")
    assert web.asked.count("/hops/0") == 1


@pytest.mark.parametrize(
    ("to", "reason"),
    [
        ("http://127.0.0.1:{port}/ok/1", "refused_link"),
        ("http://localhost:{port}/ok/1", "refused_link"),
        ("http://127.0.0.1/ok/1", "refused_address"),
        ("https://127.0.0.1/ok/1", "refused_address"),
        ("http://localhost/ok/1", "refused_address"),
        ("http://[::1]/ok/1", "refused_address"),
        ("http://[::ffff:127.0.0.1]/ok/1", "refused_address"),
        ("http://[::ffff:7f00:1]/ok/1", "refused_address"),
        ("http://[64:ff9b::7f00:1]/ok/1", "refused_address"),
        ("http://[2002:7f00:1::]/ok/1", "refused_address"),
        ("http://169.254.169.254/latest/meta-data/", "refused_address"),
        ("http://rebound.example/ok/1", "refused_address"),
        ("http://2130706433/ok/1", "refused_link"),
        ("http://0177.0.0.1/ok/1", "bad_redirect"),
        ("http://me@127.0.0.1/ok/1", "refused_link"),
        ("file:///etc/passwd", "refused_link"),
        ("//127.0.0.1:{port}/ok/1", "refused_link"),
    ],
)
def test_no_redirect_leads_into_the_private_network(to: str, reason: str, web: Web, tmp_path: Path) -> None:
    def resolve(host: str, *_: object) -> list[str]:
        assert host in ("shop.example", "rebound.example", "localhost")
        return ["127.0.0.1"]

    with listener() as (port, came):
        link = web.url(f"/to/{to.format(port=port)}", "shop.example")
        (found,) = fetch(tmp_path, [link], [f"shop.example:{web.port}"], resolve=resolve)
    assert (found.status, found.reason) == ("dead", reason)
    assert came == []
    assert len(web.asked) == 1


def test_links_that_are_refused_are_not_asked_and_stop_nothing(web: Web, tmp_path: Path) -> None:
    links = ["file:///etc/passwd", "http://127.0.0.1:1/a.png", "http://10.0.0.1/a.png", "no link", web.url("/ok/1")]
    found = fetch(tmp_path, links, [web.host])
    assert [each.reason for each in found] == ["refused_link", "refused_link", "refused_address", "refused_link", "ok"]
    assert [each.tries for each in found] == [0, 0, 1, 0, 1]


def test_what_may_pass_is_tried_again(web: Web, tmp_path: Path) -> None:
    once, twice = fetch(tmp_path, [web.url("/flaky/1"), web.url("/flaky/2")], [web.host])
    assert (once.status, once.tries) == ("ok", 2)
    assert (twice.status, twice.reason, twice.http_status, twice.tries) == ("dead", "server_failed", 500, 2)


def test_a_host_is_left_alone_as_long_as_it_asks(web: Web, tmp_path: Path) -> None:
    links = [web.url("/busy/0.6"), *(web.url(f"/ok/{n}") for n in range(4))]
    found = fetch(tmp_path, links, [web.host], per_host=1)
    assert [each.status for each in found] == ["ok"] * 5
    asked = web.asked.index("/busy/0.6")
    assert web.at[asked + 1] - web.at[asked] >= 0.55  # the clocks of two threads


def test_a_host_that_asks_for_a_long_pause_is_left_for_the_next_run(web: Web, tmp_path: Path) -> None:
    links = [web.url("/busy/3600"), *(web.url(f"/slow/{n}") for n in range(20))]
    found = fetch(tmp_path, links, [web.host], per_host=1)
    assert found[0].reason == "rate_limit"
    assert {each.reason for each in found[1:]} <= {"ok", "rate_limit"}
    assert sum(each.reason == "rate_limit" for each in found) > 10
    assert "3600 s" in found[-1].detail


def test_a_host_that_does_not_answer_is_given_up(tmp_path: Path, web: Web) -> None:
    def resolve(host: str, *_: object) -> list[str]:
        if host == "gone.example":
            raise OSError("Name or service not known")
        return ["127.0.0.1"]

    links = [f"http://gone.example/{n}.png" for n in range(50)] + [web.url("/ok/1", "shop.example")]
    limits = Limits(tries=3, first_wait=0.01, failures=6)
    found = fetch(tmp_path, links, [f"shop.example:{web.port}"], resolve=resolve, limits=limits, per_host=1)
    reasons = [each.reason for each in found]
    assert reasons[-1] == "ok"
    assert set(reasons[:-1]) == {"unknown_host", "host_given_up"}
    assert sum(each.tries for each in found[:-1]) == 6
    assert "Name or service not known" in next(each.detail for each in found if each.reason == "host_given_up")


def test_a_host_is_asked_little_at_a_time(web: Web, tmp_path: Path) -> None:
    found = fetch(tmp_path, [web.url(f"/meet/2?{n}") for n in range(8)], [web.host], per_host=2, parallel=8)
    assert {each.status for each in found} == {"ok"}
    assert web.most_at_once == 2


def test_requests_to_a_host_have_pauses_between_them(web: Web, tmp_path: Path) -> None:
    began = time.monotonic()
    fetch(tmp_path, [web.url(f"/hops/{n}") for n in (0, 1, 2)], [web.host], per_host=4, delay=0.1)
    assert time.monotonic() - began >= 5 * 0.1  # six requests, those of redirects among them


def test_several_hosts_are_asked_at_once(web: Web, tmp_path: Path) -> None:
    names = [f"shop{n}.example" for n in range(4)]
    links = [web.url("/meet/4", name) for name in names]
    hosts = [f"{name}:{web.port}" for name in names]
    found = fetch(tmp_path, links, hosts, per_host=1, resolve=lambda *_: ["127.0.0.1"])
    assert {each.status for each in found} == {"ok"}
    assert web.most_at_once == 4


def test_whoever_stops_early_leaves_nothing_running(web: Web, tmp_path: Path) -> None:
    allowed = AllowedHosts.parse([web.host])
    fetcher = ImageFetcher(tmp_path, "images", allowed=allowed, user_agent="semctl/test", limits=PATIENT, delay=0.0)
    ends = fetcher.fetch([web.url(f"/slow/{n}") for n in range(50)])
    next(ends)
    ends.close()
    ends_by = time.monotonic() + 100
    while any(thread.name.startswith("fetch ") for thread in threading.enumerate()):
        assert time.monotonic() < ends_by
        time.sleep(0.02)
    assert len(web.asked) < 50


def test_a_full_disk_ends_the_run_with_the_error_of_the_disk(
    web: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, content: bytes) -> None:
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(image_fetching, "write_atomic", full)
    with pytest.raises(OSError, match="No space left"):
        fetch(tmp_path, [web.url("/ok/1")], [web.host])


def test_nothing_of_the_environment_is_asked_on_the_way(
    web: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with proxies(monkeypatch) as came:
        (found,) = fetch(tmp_path, [web.url("/ok/1")], [web.host])
    assert (found.status, came) == ("ok", [])


@contextmanager
def proxies(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    with listener() as (port, came):
        for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{port}")
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.delenv("NO_PROXY", raising=False)
        yield came


def test_hosts_take_turns() -> None:
    queues = HostQueues(per_host=1, delay=0.0)
    for link in ("http://a.example/1", "http://a.example/2", "http://b.example/1", "http://b.example/2"):
        queues.add(Errand(link, checked_url(link, AllowedHosts())))
    taken = []
    for _ in range(4):
        errand = queues.take()
        assert errand is not None
        taken.append(errand.link.removeprefix("http://"))
        queues.done(errand.host)
    assert taken == ["a.example/1", "b.example/1", "a.example/2", "b.example/2"]
    assert queues.take() is None


def test_a_report_names_hosts_and_not_their_users() -> None:
    links = ["http://shop.example/a", "//shop.example:8080/a", "http://me:secret@shop.example/a", "no link"]
    assert [host_of(link) for link in links] == ["shop.example", "shop.example:8080", "shop.example", "?"]
