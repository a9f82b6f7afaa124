"""Text that may be shown: nothing a terminal would obey, nothing that is not Unicode, no secret.

File names, dialogues and answers of servers come from elsewhere. They pass :func:`harmless` before they reach a
terminal, and :func:`conceal` wherever a message or a JSON object leaves semctl.
"""

from __future__ import annotations

import base64
import html
import json
import re
from collections.abc import Iterable
from urllib.parse import quote, unquote

_WINDOW = 8
"""How many characters in a row of a secret give it away."""

_CUT = "***"
_PASSWORD_IN_URL = re.compile(r"(?<=://)[^\s/:@]*:[^\s/@]+(?=@)")
_SURROGATE = re.compile(r"[\ud800-\udfff]")
# control characters but tab and line feed; line and paragraph separators; what turns the direction of writing around
_OBEYED = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")

_guarded: set[str] = set()
_pieces: set[str] = set()
_bare_pieces: set[str] = set()


def as_unicode(text: str) -> str:
    r"""``text`` with what is not Unicode written out: the byte of a file name that is not UTF-8 becomes ``\xe9``."""

    def written(found: re.Match[str]) -> str:
        code = ord(found.group())
        return f"\\x{code - 0xDC00:02x}" if 0xDC80 <= code <= 0xDCFF else f"\\u{code:04x}"

    return _SURROGATE.sub(written, text)


def harmless(text: str) -> str:
    r"""``text`` as a terminal may get it: control characters are written out, as ``\x1b``; line ends and tabs stay."""

    def written(found: re.Match[str]) -> str:
        code = ord(found.group())
        return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"

    return _OBEYED.sub(written, _PASSWORD_IN_URL.sub(_CUT, conceal(as_unicode(text))))


def shortened(text: str, most: int) -> str:
    """``text``, or its beginning and how long it is where it has more than ``most`` characters."""
    return text if len(text) <= most else f"{text[:most]}… ({len(text):,} characters)"


def escape_json(text: str) -> str:
    """JSON with everything that a terminal would obey as escapes: the same value, and harmless to look at."""
    return _OBEYED.sub(lambda found: f"\\u{ord(found.group()):04x}", text)


def guard(secret: str) -> None:
    """Cut ``secret`` from everything that is shown from now on; one of less than 8 characters cannot be told apart."""
    if len(secret) >= _WINDOW and secret not in _guarded:
        _guarded.add(secret)
        for form in _forms(secret):
            _pieces.update(_windows(form))
            _bare_pieces.update(_windows(_bare(form)))


def forget_secrets() -> None:
    """Guard nothing any more; a command begins with this."""
    _guarded.clear()
    _pieces.clear()
    _bare_pieces.clear()


def conceal(text: str) -> str:
    """``text`` with stars for every secret and every part of one, in whatever usual form it is written."""
    if not _pieces:
        return text
    low = "".join(letter.lower() if len(letter.lower()) == 1 else letter for letter in text)  # as long as the text
    kept: list[str] = []
    done = at = 0
    while at <= len(low) - _WINDOW:
        if low[at : at + _WINDOW] not in _pieces:
            at += 1
            continue
        end = at + _WINDOW
        while end < len(low) and low[end - _WINDOW + 1 : end + 1] in _pieces:
            end += 1
        kept += (text[done:at], _CUT)
        done = at = end
    return "".join([*kept, text[done:]])


def holds_secret(text: str) -> bool:
    """Whether ``text`` repeats a guarded secret or a part of one, also with marks between its letters, or encoded."""
    return any(
        piece in known
        for given in {text, unquote(text), html.unescape(text), _unescaped(text)}
        for reading, known in ((given.lower(), _pieces), (_bare(given), _bare_pieces))
        for piece in _windows(reading)
    )


def _bare(text: str) -> str:
    return "".join(filter(str.isalnum, text)).lower()


def _unescaped(text: str) -> str:
    return re.sub(r"\\u00([0-9a-fA-F]{2})", lambda found: chr(int(found.group(1), 16)), text)


def _windows(form: str) -> Iterable[str]:
    return (form[at : at + _WINDOW] for at in range(len(form) - _WINDOW + 1))


def _forms(secret: str) -> set[str]:
    """How a secret may be written, in lower case."""
    content = secret.encode("utf-8", "surrogatepass")
    in_url, in_json = quote(content, safe=""), json.dumps(secret)[1:-1]
    forms = {secret, secret[::-1], in_url, in_json, html.escape(secret), content.hex()}
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        for before in (b"", b"_", b"__"):  # where it stands among other bytes decides which letters it becomes
            packed = encode(before + content).decode().rstrip("=")
            forms.add(packed[-(-8 * len(before) // 6) : -1])
    return {form.lower() for form in forms}
