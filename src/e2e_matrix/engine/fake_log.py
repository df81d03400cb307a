"""What a container of the fake engine prints, and the following of it."""

from __future__ import annotations

import threading

from e2e_matrix.engine.base import LogSink

_JOIN = 5.0  # seconds that a sink gets to return


class FakeLog:
    """Everything that was printed; it is never too much here."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._printed = threading.Condition()
        self._content = bytearray()
        self._finished = False

    def print(self, data: bytes) -> None:
        with self._printed:
            if not self._finished:
                self._content += data
                self._printed.notify_all()

    def finish(self) -> None:
        """Nothing more will be printed."""
        with self._printed:
            self._finished = True
            self._printed.notify_all()

    def read(self) -> bytes:
        with self._printed:
            return bytes(self._content)

    def follow(self, sink: LogSink) -> FakeLogFollow:
        return FakeLogFollow(self, sink)

    def wait_beyond(self, size: int, closing: threading.Event) -> tuple[bytes, bool]:
        """What was printed beyond ``size`` bytes, once there is any, and whether that was the last."""
        with self._printed:
            self._printed.wait_for(lambda: self._finished or closing.is_set() or len(self._content) > size)
            return bytes(self._content[size:]), self._finished or closing.is_set()

    def wake(self) -> None:
        with self._printed:
            self._printed.notify_all()


class FakeLogFollow:
    """See ``engine.base.LogFollow``."""

    complete = True

    def __init__(self, log: FakeLog, sink: LogSink) -> None:
        self.ended = threading.Event()
        self._log = log
        self._sink = sink
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._follow, name=f"log of {log.name}", daemon=True)
        self._thread.start()

    def close(self, within: float) -> None:
        self.ended.wait(within)
        self._closing.set()
        self._log.wake()
        self._thread.join(_JOIN)

    def _follow(self) -> None:
        size, last = 0, False
        while not last:
            fresh, last = self._log.wait_beyond(size, self._closing)
            size += len(fresh)
            if fresh:
                self._sink(fresh)
        self.ended.set()
