"""The store's address: what people write put right or refused in one line, and taken apart."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

from cifar_track.addresses import shown
from cifar_track.config import CifarTrackError

DEFAULT_DATABASE = "mlflow.db"
SERVER_SCHEMES = ("http", "https")
SQLITE_SUFFIXES = (".db", ".sqlite", ".sqlite3")
DATABASE_PORTS = {"postgresql": 5432, "mysql": 3306, "mssql": 1433}
DATABRICKS = ("databricks", "databricks-uc", "uc")

# A path of these signs means the same as it stands and as an address; any other is quoted.
_PLAIN_PATH = re.compile(r"[\w./ ~+,=@-]*")
_HOST_AND_PORT = re.compile(r"[\w.-]+:\d+(/.*)?")


def settled(given: str) -> str:
    """The address that MLflow is given: as it was written, an SQLite file's made absolute.

    Raises:
        CifarTrackError: it is none, or is written in a way that MLflow takes for something else.
    """
    scheme, separator, rest = given.partition("://")
    family = scheme.partition("+")[0].lower()
    if not separator:
        if given.partition(":")[0] not in DATABRICKS:
            raise CifarTrackError(_without_scheme(given))
    elif family == "file":
        raise CifarTrackError(_no_folder(given))
    elif family == "postgres":
        raise CifarTrackError(
            f"MLFLOW_TRACKING_URI={shown(given)}: no database is called so; write "
            f"{shown(f'postgresql+psycopg2://{rest}')}"
        )
    elif family == "sqlite":
        path = sqlite_path(given)
        if path is not None:
            return sqlite_address(path.absolute(), scheme=scheme, query=given.partition("?")[2])
        if not rest.startswith("/file:"):
            raise CifarTrackError(_no_sqlite_file(given, rest))
    else:
        _require_host(given, family)
    return given


def is_server(uri: str) -> bool:
    """Whether the address is that of a tracking server."""
    return urlsplit(uri).scheme in SERVER_SCHEMES


def is_databricks(uri: str) -> bool:
    """Whether the address is one of Databricks's own."""
    return uri.partition(":")[0] in DATABRICKS


def sqlite_path(uri: str) -> Path | None:
    """The file behind an SQLite address; None for any other address, and for one in memory."""
    scheme, _, path = uri.partition(":///")
    path = unquote(path.partition("?")[0])  # as SQLAlchemy does
    if scheme.partition("+")[0] != "sqlite" or not path or path.startswith((":memory:", "file:")):
        return None
    return Path(path)


def sqlite_address(path: Path, *, scheme: str = "sqlite", query: str = "") -> str:
    """The address of an SQLite file, whatever the names of its folders.

    Raises:
        CifarTrackError: the path is no text, as a name of another time's encoding may be.
    """
    # Under the short scheme, MLflow makes the folder that a quoted path would be.
    quoted = f"sqlite+pysqlite:///{quote(str(path), errors='surrogateescape')}"
    address = f"{scheme}:///{path}" if _is_plain(path) else quoted
    return f"{address}?{query}" if query else address


def folder_address(path: Path) -> str:
    """A folder as MLflow takes it for artifacts; a plain path where that means the same."""
    return str(path) if _is_plain(path) else path.as_uri()


def _is_plain(path: Path) -> bool:
    try:
        str(path).encode()
    except UnicodeEncodeError as error:
        raise CifarTrackError(
            f"the path {str(path)!r} is not written in UTF-8; rename that folder, or use another"
        ) from error
    return _PLAIN_PATH.fullmatch(str(path)) is not None


def _without_scheme(given: str) -> str:
    scheme, colon, rest = given.partition(":")
    family = scheme.partition("+")[0].lower()
    known = (*SERVER_SCHEMES, *DATABASE_PORTS)
    if colon and (family in known or family == "sqlite"):  # a slash too few
        slashes = "///" if family == "sqlite" else "//"
        return _write_instead(given, f"{scheme}:{slashes}{rest.lstrip('/')}")
    if _HOST_AND_PORT.fullmatch(given):
        return _write_instead(given, f"http://{given}")
    if Path(given).suffix in SQLITE_SUFFIXES:
        return _write_instead(given, f"sqlite:///{given}")
    return _no_folder(given)


def _write_instead(given: str, right: str) -> str:
    return f"MLFLOW_TRACKING_URI={shown(given)} is no address; write {shown(right)}"


def _no_folder(given: str) -> str:
    return (
        f"MLFLOW_TRACKING_URI={shown(given)} is a folder, and MLflow has given up keeping runs in "
        f"folders; use sqlite:///{DEFAULT_DATABASE} or a server's address, as http://localhost:5000"
    )


def _no_sqlite_file(given: str, rest: str) -> str:
    if rest.startswith("/") or not rest:
        return (
            f"MLFLOW_TRACKING_URI={given} keeps runs in memory, where no later command finds them; "
            f"use sqlite:///{DEFAULT_DATABASE}"
        )
    return _write_instead(given, f"sqlite:///{rest}")


def _require_host(given: str, family: str) -> None:
    try:
        parts = urlsplit(given)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise CifarTrackError(f"MLFLOW_TRACKING_URI={shown(given)}: {error}") from error
    if family in SERVER_SCHEMES and not host:
        raise CifarTrackError(
            f"MLFLOW_TRACKING_URI={shown(given)} names no host; write http://localhost:5000"
        )
