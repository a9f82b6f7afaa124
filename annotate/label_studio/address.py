"""Where the local Label Studio listens, and the address at which people reach it."""

from __future__ import annotations

import errno
import ipaddress
import socket
from dataclasses import dataclass
from urllib.parse import urlsplit

from annotate.label_studio.plain_http import is_loopback
from schemas.errors import UsageError

LOOPBACK = "127.0.0.1"

EVERYWHERE = "0.0.0.0"
"""As a host to listen on: every address of this machine."""

_DEFAULT_PORTS = {"http": 80, "https": 443}

_RESERVED = (
    *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24"),
    *("192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24"),
    *("224.0.0.0/4", "233.252.0.0/24", "240.0.0.0/4", "255.255.255.255/32", "::/128", "::1/128", "::ffff:0:0/96"),
    *("::ffff:0:0:0/96", "64:ff9b::/96", "64:ff9b:1::/48", "100::/64", "2001::/32", "2001:20::/28", "2001:db8::/32"),
    *("2002::/16", "fc00::/7", "fe80::/10", "ff00::/8"),
)
"""Networks that Label Studio asks nothing of, whatever its users name: models, webhooks, files to import."""


def reserved_but_this_machine() -> list[str]:
    """These networks without the one address 127.0.0.1, at which a model is served."""
    here = ipaddress.IPv4Network(f"{LOOPBACK}/32")
    found: list[str] = []
    for name in _RESERVED:
        network = ipaddress.ip_network(name)
        if isinstance(network, ipaddress.IPv4Network) and here.subnet_of(network):
            found += map(str, sorted(network.address_exclude(here)))
        else:
            found.append(name)
    return found


@dataclass(frozen=True)
class ServerAddress:
    """Where the server listens; made by :meth:`of`."""

    host: str  # an address or name of this machine, or :data:`EVERYWHERE`
    port: int  # on that host
    # scheme, name and port by which people reach it, as a proxy has them; empty where they use the machine's own
    # address
    public_url: str = ""
    model_here: bool = False  # whether it may ask a model on this machine even where other machines reach it

    @classmethod
    def of(cls, host: str, port: int, public_url: str = "", *, model_here: bool = False) -> ServerAddress:
        """Check what a user gave.

        Raises:
            UsageError: no host name or IPv4 address, or no web address of a whole server.
        """
        host = host.strip()
        try:
            socket.getaddrinfo(host, port, socket.AF_INET, socket.SOCK_STREAM)
        except (OSError, UnicodeError):
            fix = f"name an IPv4 address or name of this machine; {EVERYWHERE}: all of them"
            raise UsageError(f"'{host}' is no host to listen on", fix=fix) from None
        return cls(host, port, _origin(public_url.strip()) if public_url.strip() else "", model_here)

    @property
    def url(self) -> str:
        """At which semctl itself asks it: the same for every network, as long as it listens on this machine's own."""
        return f"http://{LOOPBACK if self.host == EVERYWHERE else self.host}:{self.port}"

    @property
    def is_open(self) -> bool:
        """Whether other machines reach it, by the network or by a proxy."""
        return bool(self.public_url) or not is_loopback(self.host)

    @property
    def asks_here(self) -> bool:
        """Whether it may ask servers at 127.0.0.1: whoever has an account can make it do so."""
        return self.model_here or not self.is_open

    @property
    def page_url(self) -> str:
        """At which people open it."""
        if self.public_url:
            return self.public_url
        return f"http://{_own_address()}:{self.port}" if self.host == EVERYWHERE else self.url

    def settings(self) -> dict[str, str]:
        """What Label Studio has to know of it: names by which it may be asked, where its forms may come from, and what
        it may ask itself.

        Forms that come by a proxy with TLS are from ``https://``, and arrive without: Django refuses them unless told.
        """
        names = [LOOPBACK, "localhost"]
        if self.public_url:
            names.append(urlsplit(self.public_url).hostname or "")
        names.append(self.host)
        allowed = "*" if self.host == EVERYWHERE and not self.public_url else ",".join(dict.fromkeys(names))
        settings = {"LABEL_STUDIO_ALLOWED_HOSTS": allowed}
        if self.public_url:
            settings["LABEL_STUDIO_CSRF_TRUSTED_ORIGINS"] = self.public_url
        if self.asks_here:
            settings["LABEL_STUDIO_USE_DEFAULT_BANNED_SUBNETS"] = "false"
            settings["LABEL_STUDIO_USER_ADDITIONAL_BANNED_SUBNETS"] = ",".join(reserved_but_this_machine())
        return settings

    def require_free(self) -> None:
        """See that nobody listens there.

        Raises:
            UsageError: somebody does, or the host is not this machine.
        """
        # Label Studio itself looks at localhost, whatever its host, and takes the next port when somebody is there
        for host in dict.fromkeys((self.host, LOOPBACK)):
            with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    probe.bind((host, self.port))
                except OSError as problem:
                    if problem.errno == errno.EADDRNOTAVAIL:
                        fix = f"name an address of this machine; {EVERYWHERE}: all of them"
                        raise UsageError(f"'{host}' is not an address of this machine", fix=fix) from None
                    if problem.errno == errno.EACCES:
                        fix = "name one from 1024 on: `semctl studio start --port N`"
                        raise UsageError(f"port {self.port} is for the system", fix=fix) from None
                    fix = "name a free one: `semctl studio start --port N`"
                    raise UsageError(f"port {self.port} is taken", fix=fix) from None


def _origin(text: str) -> str:
    """``https://labels.example.org`` of a web address that has no more than that.

    Raises:
        UsageError: it is none, or has more.
    """
    fix = "write it as https://NAME or http://NAME:PORT"
    if "@" in text:  # perhaps with a password, which is not repeated
        raise UsageError("the public address holds more than a name and a port", fix=fix)
    try:
        parts = urlsplit(text)
        scheme, host, port = parts.scheme.lower(), parts.hostname, parts.port
    except ValueError:
        raise UsageError(f"'{text}' is no web address", fix=fix) from None
    if scheme not in _DEFAULT_PORTS or not host or not text.isprintable() or " " in text:
        raise UsageError(f"'{text}' is no web address", fix=fix)
    if parts.path not in ("", "/") or parts.query or parts.fragment:
        raise UsageError(f"'{text}' has more than a name: the images of tasks need a name of their own", fix=fix)
    name = f"[{host}]" if ":" in host else host
    return f"{scheme}://{name}" + (f":{port}" if port not in (None, _DEFAULT_PORTS[scheme]) else "")


def _own_address() -> str:
    """This machine's address in the network that leads to others, else its name; nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # an address kept for documents: no packet leaves for a connect
            return str(probe.getsockname()[0])
        except OSError:
            return socket.gethostname()
