"""The server of a registered model, which goes over to a new champion by itself."""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Callable

import mlflow
from mlflow.exceptions import MlflowException
from mlflow.pyfunc import scoring_server

from cifar_track.config import CifarTrackError
from cifar_track.serving.blend import unreadable
from cifar_track.serving.front import Application, Front

_log = logging.getLogger(__name__)


def serve(
    name: str,
    alias: str,
    *,
    host: str,
    port: int,
    max_images: int,
    max_bytes: int,
    follow_seconds: float,
    on_version: Callable[[str], None],
) -> None:
    """Answer requests with the version under an alias until the process is ended.

    Args:
        name: of the registered model.
        alias: whose version is served.
        host: where to listen.
        port: where to listen.
        max_images: in a request.
        max_bytes: of a request.
        follow_seconds: how often to look whether the alias has moved.
        on_version: told each version that is served from then on.

    Raises:
        CifarTrackError: nothing can listen there, such as where another server does; or the model
            can't be read.
        MlflowException: there is no such alias.
    """
    import uvicorn

    listener = _listen(host, port)
    version = _version(name, alias)
    try:
        front = Front(_application(name, version, max_images), max_bytes=max_bytes)
    except (MlflowException, OSError, ValueError) as error:
        raise unreadable(f"{name} version {version}", error) from error
    on_version(version)
    ended = threading.Event()
    follower = threading.Thread(
        target=_follow,
        args=(front, ended),
        kwargs={
            "name": name,
            "alias": alias,
            "version": version,
            "max_images": max_images,
            "seconds": follow_seconds,
            "on_version": on_version,
        },
        daemon=True,
    )
    follower.start()
    try:
        uvicorn.Server(uvicorn.Config(front, log_level="warning")).run(sockets=[listener])
    finally:
        ended.set()
        listener.close()


def _listen(host: str, port: int) -> socket.socket:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        return socket.create_server(found[0][4][:2], family=found[0][0])
    except (OSError, UnicodeError) as error:
        raise CifarTrackError(
            f"nothing can listen at {host}:{port} ({getattr(error, 'strerror', None) or error}); "
            "end what does, or give another --port or --host"
        ) from error


def _follow(
    front: Front,
    ended: threading.Event,
    *,
    name: str,
    alias: str,
    version: str,
    max_images: int,
    seconds: float,
    on_version: Callable[[str], None],
) -> None:
    """Exchange the model when the alias has moved; what can't be loaded is not served."""
    while not ended.wait(seconds):
        try:
            now = _version(name, alias)
            if now != version:
                front.application = _application(name, now, max_images)
                version = now
                on_version(version)
        except Exception as error:
            _log.warning("version %s is served on: %s", version, " ".join(str(error).split()))


def _version(name: str, alias: str) -> str:
    return str(mlflow.MlflowClient().get_model_version_by_alias(name, alias).version)


def _application(name: str, version: str, max_images: int) -> Application:
    """MLflow's scoring server of a version."""
    model = mlflow.pyfunc.load_model(
        f"models:/{name}/{version}", model_config={"max_images": max_images}
    )
    application: Application = scoring_server.init(model)
    return application
