"""A server that a benchmark starts: a port for it, and the wait until it answers."""

from __future__ import annotations

import http.client
import socket
import subprocess
import time

START_SECONDS = 300


def free_port() -> int:
    """A port that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until_it_answers(port: int, path: str, process: subprocess.Popen[bytes]) -> None:
    """Wait until a path of the server has status 200; leave where its process ends before."""
    for _ in range(START_SECONDS):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        try:
            connection.request("GET", path)
            if connection.getresponse().status == 200:
                return
        except OSError:
            time.sleep(1)
        finally:
            connection.close()
        if process.poll() is not None:
            break
    raise SystemExit("the server did not begin to answer")
