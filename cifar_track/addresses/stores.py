"""The store's address: what people write put right or refused in one line, and taken apart."""

from __future__ import annotations

import os
import re
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

from cifar_track.addresses.shown import shown
from cifar_track.config import CifarTrackError
from cifar_track.folders import expanded

STORE, REGISTRY = "MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI"
DEFAULT_DATABASE = "mlflow.db"
SERVER_SCHEMES = ("http", "https")
SQLITE_SUFFIXES = (".db", ".sqlite", ".sqlite3")
DATABASE_PORTS = {"postgresql": 5432, "mysql": 3306, "mssql": 1433}
DATABRICKS = ("databricks", "databricks-uc", "uc")

# A path of these signs means the same as it stands and as an address; any other is quoted.
_PLAIN_PATH = re.compile(r"[\w./ ~+,=@-]*")
_HOST_AND_PORT = re.compile(r"[\w.-]+:\d+(/.*)?")
_USUAL_PORTS = {"http": 80, "https": 443, **DATABASE_PORTS}
_NO_FOLDER = (
    "is a folder, and MLflow has given up keeping runs in folders; use "
    f"sqlite:///{DEFAULT_DATABASE} or a server's address, as http://localhost:5000"
)


def tracking_address() -> str:
    """The store of runs: `MLFLOW_TRACKING_URI`, or else `mlflow.db` in the working folder.

    Raises:
        CifarTrackError: as `settled`.
    """
    given = os.environ.get(STORE, "").strip()
    return settled(given or f"sqlite:///{DEFAULT_DATABASE}")


def registry_address() -> str:
    """The registry of models: `MLFLOW_REGISTRY_URI`, or else the store of runs.

    Raises:
        CifarTrackError: as `settled`.
    """
    given = os.environ.get(REGISTRY, "").strip()
    return settled(given, setting=REGISTRY) if given else tracking_address()


def settled(given: str, *, setting: str = STORE) -> str:
    """The address that MLflow is given: as it was written, an SQLite file's made absolute.

    Args:
        given: what a person wrote.
        setting: where it was written, for the refusal.

    Raises:
        CifarTrackError: it is none, or is written in a way that MLflow takes for something else.
    """
    if given[:1] in ("'", '"') and given.endswith(given[0]):  # of a file that no shell has read
        raise CifarTrackError(f"{setting}={shown(given)} is no address; write it without quotes")
    scheme, separator, rest = given.partition("://")
    scheme = scheme.lower()
    family = scheme.partition("+")[0]
    if not separator:
        if given.partition(":")[0] in DATABRICKS:
            return given
        raise CifarTrackError(f"{setting}={shown(given)} {_without_scheme(given)}")
    given = f"{scheme}://{rest}"
    if family == "file":
        raise CifarTrackError(f"{setting}={shown(given)} {_NO_FOLDER}")
    if family == "postgres":
        raise CifarTrackError(
            f"{setting}={shown(given)}: no database is called so; write "
            f"{shown(f'postgresql+psycopg2://{rest}')}"
        )
    if family == "sqlite":
        path = sqlite_path(given)
        if path is not None:
            path = expanded(path) if path.parts[:1] == ("~",) else path
            query = given.partition("?")[2]
            return sqlite_address(path.absolute(), scheme=scheme, query=query)
        if not rest.startswith("/file:"):
            raise CifarTrackError(f"{setting}={given} {_no_sqlite_file(rest)}")
        return given
    _require_host(given, family, setting=setting)
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


def place(uri: str) -> str:
    """What one store has, whoever reaches it, by whatever way of writing its address."""
    path = sqlite_path(uri)
    if path is not None:
        return f"sqlite:///{path.resolve()}"
    parts = urlsplit(uri)
    family = parts.scheme.partition("+")[0]
    host = parts.netloc.rpartition("@")[2].lower().removesuffix(f":{_USUAL_PORTS.get(family)}")
    return f"{family}://{host}{parts.path.rstrip('/')}"


def _without_scheme(given: str) -> str:
    scheme, colon, rest = given.partition(":")
    family = scheme.partition("+")[0].lower()
    known = (*SERVER_SCHEMES, *DATABASE_PORTS)
    if colon and (family in known or family == "sqlite"):  # a slash too few
        slashes = "///" if family == "sqlite" else "//"
        return _write_instead(f"{scheme}:{slashes}{rest.lstrip('/')}")
    if _HOST_AND_PORT.fullmatch(given):
        return _write_instead(f"http://{given}")
    if Path(given).suffix in SQLITE_SUFFIXES:
        return _write_instead(f"sqlite:///{given}")
    return _NO_FOLDER


def _write_instead(right: str) -> str:
    return f"is no address; write {shown(right)}"


def _no_sqlite_file(rest: str) -> str:
    if rest.startswith("/") or not rest:
        return (
            "keeps runs in memory, where no later command finds them; use "
            f"sqlite:///{DEFAULT_DATABASE}"
        )
    return _write_instead(f"sqlite:///{rest}")


def _require_host(given: str, family: str, *, setting: str) -> None:
    if re.search(r"\s", given):  # where it stands, and so what is a password, can't be told
        raise CifarTrackError(
            f"{setting} holds a blank; expected an address as http://localhost:5000, with %20 for "
            "a blank in a name or password"
        )
    try:
        parts = urlsplit(given)
        host, _ = parts.hostname, parts.port
    except ValueError as error:  # which quotes what it takes for the port, be it of a password
        raise CifarTrackError(
            f"{setting}={shown(given)}: its host and port can't be read; expected an address as "
            "http://localhost:5000, with %2F for /, %3F for ? and %23 for # in a name or password"
        ) from error
    if family in SERVER_SCHEMES and not host:
        raise CifarTrackError(
            f"{setting}={shown(given)} names no host; write http://localhost:5000"
        )
