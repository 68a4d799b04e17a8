"""Events for a listener, in order, whether or not it can take them at the moment."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable


class Announcer:
    """Tells a listener one event after another; what it raises costs no event and no trial.

    An event that raised stays first in the queue, and is told again when the next one comes.
    """

    def __init__(self) -> None:
        self._waiting: deque[Callable[[], None]] = deque()
        self._error: Exception | None = None

    def tell(self, event: Callable[[], None]) -> None:
        """Tell an event, after those that wait."""
        self._waiting.append(event)
        self.catch_up()

    def catch_up(self) -> None:
        """Tell what waits, as far as the listener takes it."""
        while self._waiting:
            try:
                self._waiting[0]()
            except Exception as error:
                self._error = error
                return
            self._waiting.popleft()

    def finish(self) -> None:
        """Tell what waits.

        Raises:
            Exception: what the listener raised, where it still does.
        """
        self.catch_up()
        if self._waiting and self._error is not None:
            raise self._error
