"""Which addresses are asked for images, and that connections go to the address that was looked at."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from pathlib import Path

import httpcore
import pytest

from pipeline.corpus.image_fetching import Fetched, ImageFetcher, Limits
from pipeline.corpus.web_addresses import (
    AllowedHosts,
    Clock,
    PinnedBackend,
    RefusedError,
    checked_url,
    is_public,
    port_of,
    system_addresses,
)
from schemas.errors import UsageError
from tests.hostile_web import hostile_web, listener
from tests.self_signed import self_signed

NOBODY = AllowedHosts()


@pytest.mark.parametrize(
    "address",
    [
        "0.0.0.0",
        "10.1.2.3",
        "100.64.0.1",
        "100.100.100.200",  # metadata of Alibaba's cloud
        "127.0.0.1",
        "127.255.255.254",
        "168.63.129.16",  # the host of a machine in Azure's
        "169.254.169.254",  # metadata of most
        "172.16.0.1",
        "172.31.255.255",
        "192.0.0.192",  # of Oracle's
        "192.0.2.1",
        "192.88.99.1",
        "192.168.0.1",
        "198.18.0.1",
        "198.51.100.7",
        "203.0.113.7",
        "224.0.0.1",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::127.0.0.1",
        "::8.8.8.8",
        "::ffff:10.0.0.1",
        "::ffff:127.0.0.1",
        "::ffff:169.254.169.254",
        "64:ff9b::7f00:1",  # NAT64 of 127.0.0.1
        "64:ff9b::a9fe:a9fe",
        "64:ff9b:1::1",
        "100::1",
        "2001::1",  # Teredo
        "2001:20::1",
        "2001:db8::1",
        "2002:7f00:1::",  # 6to4 of 127.0.0.1
        "2002:808:808::",
        "3fff::1",
        "5f00::1",
        "fc00::1",
        "fd00:ec2::254",  # of Amazon's
        "fe80::1",
        "fe80::1%eth0",
        "fec0::1",
        "ff02::1",
        "no address",
        "",
    ],
)
def test_addresses_of_private_networks_are_not_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize(
    "address",
    [
        "1.1.1.1",
        "8.8.8.8",
        "93.184.216.34",
        "100.63.255.255",
        "100.128.0.0",
        "172.15.255.255",
        "172.32.0.0",
        "192.167.255.255",
        "223.255.255.255",
        "2606:4700:4700::1111",
        "2a00:1450:4001:80b::200e",
        "::ffff:8.8.8.8",
        "64:ff9b::808:808",
    ],
)
def test_addresses_of_the_internet_are_public(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    ("link", "said"),
    [
        ("file:///etc/passwd", "neither http nor https: file"),
        ("ftp://shop.example/a.png", "neither http nor https: ftp"),
        ("gopher://shop.example/a.png", "neither http nor https: gopher"),
        ("data:image/png;base64,iVBORw0KGgo=", "neither http nor https: data"),
        ("a.png", "neither http nor https: no scheme"),
        ("http:///a.png", "no host"),
        ("http:a.png", "no host"),
        ("http://shop.example:22/a.png", "port 22"),
        ("https://shop.example:8443/a.png", "port 8443"),
        ("http://shop.example:0/a.png", "port 0"),
        ("http://me@shop.example/a.png", "user name"),
        ("http://me:secret@shop.example/a.png", "user name"),
        ("http://shop.example@127.0.0.1/a.png", "user name"),
        ("http://shop.example\\@127.0.0.1/a.png", "user name"),
        ("http://2130706433/a.png", "not written as one usually is"),
        ("http://0x7f000001/a.png", "not written as one usually is"),
        ("http://0x7f.1/a.png", "not written as one usually is"),
        ("http://127.1/a.png", "not written as one usually is"),
        ("http://127.0.0.1./a.png", "not written as one usually is"),
        ("http://134744072/a.png", "not written as one usually is"),  # public, but who knows for whom
        ("http://0177.0.0.1/a.png", "not a web address"),
        ("http://①②⑦.⓪.⓪.①/a.png", "not a web address"),
        ("http://%31%32%37.0.0.1/a.png", "no host"),
        ("http://shop example/a.png", "no host"),
        ("http://shop.example/a\r\nX: y", "not a web address"),
        ("http://shop.example/a\x00", "not a web address"),
        ("http://[::1/a.png", "not a web address"),
        ("http://shop.example/" + "a" * 70_000, "not a web address"),
    ],
)
def test_links_of_a_form_that_is_not_asked(link: str, said: str) -> None:
    with pytest.raises(RefusedError, match=said) as problem:
        checked_url(link, NOBODY)
    assert problem.value.reason == "refused_link"


@pytest.mark.parametrize(
    ("link", "target"),
    [
        ("http://shop.example/a.png", (b"shop.example", 80, b"/a.png")),
        ("HTTPS://SHOP.example:443", (b"shop.example", 443, b"/")),
        ("http://shop.example:443/a.png", (b"shop.example", 443, b"/a.png")),
        (" //shop.example/a b%2Fc.png?x=%2B#top", (b"shop.example", 443, b"/a%20b%2Fc.png?x=%2B")),
        ("http://bücher.example/ü.png", (b"xn--bcher-kva.example", 80, b"/%C3%BC.png")),
        ("http://1.1.1.1/a.png", (b"1.1.1.1", 80, b"/a.png")),
        ("http://my_shop.3com.example/a.png", (b"my_shop.3com.example", 80, b"/a.png")),
    ],
)
def test_links_that_are_asked_as_they_are_written(link: str, target: tuple[bytes, int, bytes]) -> None:
    url = checked_url(link, NOBODY)
    assert (url.raw_host, port_of(url), url.raw_path) == target


def test_a_host_that_is_allowed_is_so_at_its_port_only() -> None:
    allowed = AllowedHosts.parse(["127.0.0.1:8000", "images.intern", "[::1]:8080", "other.intern:80"])
    asked = [("127.0.0.1", 8000), ("127.0.0.1", 80), ("images.intern", 443), ("images.intern", 8000), ("::1", 8080)]
    assert [allowed.has(*each) for each in asked] == [True, False, True, False, True]
    assert [allowed.has("other.intern", port) for port in (80, 443)] == [True, False]
    checked_url("http://[0:0:0:0:0:0:0:1]:8080/a.png", allowed)
    for text in ("", "a/b", "http://a", "me@a", "a:b", "a:", "a:99999", "127.1", "a?b", "a b"):
        with pytest.raises(UsageError, match=r"is no host|no port"):
            AllowedHosts.parse([text])
    for text in ("a" * 99_999, f"a:{'9' * 99_999}"):
        with pytest.raises(UsageError, match=r"^'a.{199}… \(\d+,\d+ characters\)' (is no host|has no port)"):
            AllowedHosts.parse([text])


def backend(answers: list[list[str]], asked: list[str], allowed: AllowedHosts = NOBODY) -> PinnedBackend:
    def resolve(host: str, port: int, _: float | None) -> list[str]:
        asked.append(host)
        return answers[min(len(asked), len(answers)) - 1]

    return PinnedBackend(allowed, Clock(), resolve)


@pytest.mark.parametrize(
    "answer", [["127.0.0.1"], ["93.184.216.34", "10.0.0.1"], ["::1"], ["::ffff:192.168.1.1"], ["fe80::1%2"]]
)
def test_a_name_is_refused_when_any_of_its_addresses_is_private(answer: list[str]) -> None:
    with pytest.raises(RefusedError, match="not public"):
        backend([answer], []).connect_tcp("shop.example", 80, 5)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "169.254.169.254", "0:0:0:0:0:ffff:7f00:1"])
def test_an_address_is_not_looked_up_but_looked_at(host: str) -> None:
    asked: list[str] = []
    with pytest.raises(RefusedError, match="not public"):
        backend([["93.184.216.34"]], asked).connect_tcp(host, 80, 5)
    assert asked == []


def test_the_connection_goes_to_the_address_that_was_looked_at_and_a_rebound_name_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    gone_to: list[tuple[str, int]] = []
    asked: list[str] = []
    with hostile_web() as web:
        real = socket.create_connection

        def create_connection(address: tuple[str, int], *arguments: object, **options: object) -> socket.socket:
            gone_to.append(address)
            return real(("127.0.0.1", web.port), *arguments, **options)  # the internet, for this test

        monkeypatch.setattr(socket, "create_connection", create_connection)
        rebinding = backend([["93.184.216.34"], ["127.0.0.1"]], asked)
        with httpcore.ConnectionPool(network_backend=rebinding, max_keepalive_connections=0) as pool:
            assert pool.request("GET", "http://shop.example/ok/1").status == 200
            with pytest.raises(RefusedError, match=r"shop\.example is 127\.0\.0\.1"):
                pool.request("GET", "http://shop.example/ok/2")
    assert gone_to == [("93.184.216.34", 80)]
    assert asked == ["shop.example"] * 2
    assert web.asked == ["/ok/1"]
    assert web.headers[0]["Host"] == "shop.example"


def test_the_next_address_is_tried_where_one_does_not_answer() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        free = closed.getsockname()[1]
    with listener() as (port, came):
        allowed = AllowedHosts.parse([f"shop.example:{port}", f"shop.example:{free}"])
        # nobody listens at the port on the second loopback address
        backend([["127.0.0.2", "127.0.0.1"]], [], allowed).connect_tcp("shop.example", port, 5).close()
        with pytest.raises(httpcore.ConnectError):
            backend([["127.0.0.2", "127.0.0.1"]], [], allowed).connect_tcp("shop.example", free, 5)
        time.sleep(0.1)
        assert len(came) == 1


def test_the_system_knows_this_machine_and_no_other_of_a_name_that_cannot_be() -> None:
    assert "127.0.0.1" in system_addresses("localhost", 80, 5)
    with pytest.raises(OSError, match="no name that can be"):
        system_addresses("a" * 70 + ".example", 80, 5)


def test_a_look_up_that_does_not_end_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    over = threading.Event()

    def getaddrinfo(*_: object, **__: object) -> list[object]:
        over.wait(60)
        return []

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    with pytest.raises(TimeoutError):
        system_addresses("shop.example", 80, 0.05)
    over.set()


def test_tls_asks_for_the_name_and_takes_no_other_certificate(tmp_path: Path) -> None:
    certificate, key = self_signed(tmp_path, "shop.example")
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(certificate, key)
    with hostile_web(server) as web:
        links = [web.url("/ok/1", name) for name in ("shop.example", "other.example", "127.0.0.1")]
        allowed = AllowedHosts.parse([link.split("/")[2] for link in links])

        def fetched(trusted: ssl.SSLContext | None) -> dict[str, Fetched]:
            fetcher = ImageFetcher(
                tmp_path / "images",
                "images",
                allowed=allowed,
                user_agent="test",
                resolve=lambda *_: ["127.0.0.1"],
                tls=trusted,
                delay=0,
                limits=Limits(tries=1),
            )
            return {found.link: found for found in fetcher.fetch(links)}

        found = fetched(ssl.create_default_context(cafile=certificate))
        assert [found[link].reason for link in links] == ["ok", "certificate", "certificate"]
        assert "CERTIFICATE_VERIFY_FAILED" in found[links[1]].detail
        assert {found.reason for found in fetched(None).values()} == {"certificate"}
    assert set(web.names) == {"shop.example", "other.example", None}  # an address has no name to ask for
    assert web.asked == ["/ok/1"]
