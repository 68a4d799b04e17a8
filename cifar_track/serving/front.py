"""MLflow's scoring server behind what it lacks: limits, one line for a mistake, a new champion.

MLflow answers 500 where a request has no Content-Type, nests too deep or holds a number of
thousands of digits (https://github.com/mlflow/mlflow/issues/4897), repeats the whole request in
front of what is wrong with it, and reads a request of any size.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Message, Receive, Send], Awaitable[None]]

JSON = b"application/json"
# Parquet, which MLflow reads too, packs a thousandfold: no limit on a request's size holds it.
READ = (JSON, b"text/csv")
LONGEST_LINE = 500


class Front:
    """An ASGI application in front of MLflow's.

    Attributes:
        application: MLflow's, which may be exchanged while requests are answered: each is answered
            by the one that was there when it came.
        max_bytes: the size of a request.
    """

    def __init__(self, application: Application, *, max_bytes: int) -> None:
        self.application = application
        self.max_bytes = max_bytes

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http" or scope["path"] != "/invocations" or scope["method"] != "POST":
            await self.application(scope, receive, send)
            return
        body = await _read(receive, self.max_bytes)
        if body is None:
            line = f"the request is larger than {self.max_bytes:,} bytes; send fewer images"
            await _answer(send, 413, line)
            return
        kinds = [value for name, value in scope["headers"] if name == b"content-type"]
        if not kinds:  # what curl and people send without one is JSON
            scope = {**scope, "headers": [*scope["headers"], (b"content-type", JSON)]}
        elif not kinds[0].startswith(READ):
            line = f"Content-Type {_text(kinds[0])}; expected {' or '.join(map(_text, READ))}"
            await _answer(send, 415, line)
            return
        if not kinds or kinds[0].startswith(JSON):
            try:
                json.loads(body)
            except (ValueError, RecursionError) as error:
                await _answer(send, 400, f"the request is not JSON that can be read: {error}")
                return
        await self.application(scope, _replay(body, receive), _shorten(send))


async def _read(receive: Receive, max_bytes: int) -> bytes | None:
    """The body of a request; None where it is too large."""
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return b"".join(parts)
        size += len(message.get("body", b""))
        if size > max_bytes:
            return None
        parts.append(message.get("body", b""))
        if not message.get("more_body", False):
            return b"".join(parts)


def _replay(body: bytes, receive: Receive) -> Receive:
    """What gives a body that has been read, and then whatever comes."""
    given = False

    async def again() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again


def _shorten(send: Send) -> Send:
    """What passes an answer on, a refusal as one line."""
    start: Message = {}
    parts: list[bytes] = []

    async def shortened(message: Message) -> None:
        if message["type"] == "http.response.start" and message["status"] >= 400:
            start.update(message)
        elif not start:
            await send(message)
        else:
            parts.append(message.get("body", b""))
            if not message.get("more_body", False):
                await _answer(send, start["status"], _line(b"".join(parts)))

    return shortened


def _line(refusal: bytes) -> str:
    """What is wrong, out of what MLflow says of it."""
    text = refusal.decode("utf-8", errors="replace")
    try:
        told = json.loads(text)
        text = str(told["message"])
    except (ValueError, KeyError, TypeError):
        pass
    # It says the request, a new line, and then what is wrong with it.
    line = " ".join(text.rpartition("\nError: ")[2].split())
    return line if len(line) <= LONGEST_LINE else f"{line[:LONGEST_LINE]} …"


def _text(header: bytes) -> str:
    return header.decode("latin-1")


async def _answer(send: Send, status: int, line: str) -> None:
    code = "INVALID_PARAMETER_VALUE" if status < 500 else "INTERNAL_ERROR"
    body = json.dumps({"error_code": code, "message": " ".join(line.split())}).encode()
    headers = [(b"content-type", JSON), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
