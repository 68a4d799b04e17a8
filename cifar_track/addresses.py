"""Addresses as they may be shown: in errors, on a terminal, in what is logged."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

HIDDEN = "***"

_PASSWORD = re.compile(r"(?<=://)([^\s:/@]*):([^\s@]*)@")
# Who names nobody but himself to a web server does it with a token.
_TOKEN = re.compile(r"(?<=http://|ttps://)[^\s:/?#@]+@")
_QUERY = re.compile(
    r"([?&;][^=\s&;?]*(?:password|passwd|passphrase|passcode|pwd|token|secret|api_?key|signature)"
    r"[^=\s&;?]*=)[^\s&;'\"]+",
    re.IGNORECASE,
)


def shown(text: str) -> str:
    """An address, or a text with addresses in it, without passwords and tokens."""
    text = _PASSWORD.sub(rf"\1:{HIDDEN}@", text)
    text = _TOKEN.sub(f"{HIDDEN}@", text)
    return _QUERY.sub(rf"\1{HIDDEN}", text)


def for_a_link(address: str) -> str:
    """A web address without the name and password in it: a browser asks for them itself."""
    parts = urlsplit(address)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl().rstrip("/")
