"""Addresses as they may be shown: in errors, on a terminal, in what is logged."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

HIDDEN = "***"

# Up to the last @: people write a password as it is, with an @ in it.
_PASSWORD = re.compile(r"(?<=://)([^\s:/@]*):(\S*)@")
# Who names nobody but himself to a web server does it with a token.
_TOKEN = re.compile(r"(?<=http://|ttps://)[^\s:/?#@]+@")
# What parts words may be quoted itself, as in SQLAlchemy's `odbc_connect=`.
_QUERY = re.compile(
    r"((?:[?&;]|%3B|%26)(?:(?!%3B|%3D)[^=\s&;?])*(?:pass|pwd|token|secret|api_?key|signature)"
    r"(?:(?!%3B|%3D)[^=\s&;?])*(?:=|%3D))(?:(?!%3B|%26)[^\s&;'\"])+",
    re.IGNORECASE,
)
# A token as `requests` quotes the header that it refuses.
_HEADER = re.compile(r"(?<=['\"])(Bearer|Basic) [^'\"]+")


def shown(text: str) -> str:
    """An address, or a text with addresses in it, without passwords and tokens."""
    text = _PASSWORD.sub(rf"\1:{HIDDEN}@", text)
    text = _TOKEN.sub(f"{HIDDEN}@", text)
    text = _HEADER.sub(rf"\1 {HIDDEN}", text)
    return _QUERY.sub(rf"\1{HIDDEN}", text)


def for_a_link(address: str) -> str:
    """A web address without the name and password in it: a browser asks for them itself."""
    parts = urlsplit(address)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl().rstrip("/")
