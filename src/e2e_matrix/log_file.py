"""A log on this disk: as it comes, without secrets, and no more of it than its two ends."""

from __future__ import annotations

import codecs
import contextlib
import errno
import os
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import BinaryIO

from e2e_matrix.errors import CellFailure
from e2e_matrix.failures import Cause
from e2e_matrix.log_signs import Scan, Sign
from e2e_matrix.redaction import Secrets, SecretStream

NAME = "server.log"
HEAD_BYTES = 2 << 20
TAIL_BYTES = 4 << 20
_LATEST_BYTES = 64 * 1024  # of the end, at hand for messages
_PIECE = 256 * 1024
_LONGEST_LINE = 4096  # that is left out whole where the tail begins
_CONTINUATIONS = bytes(range(0x80, 0xC0))  # bytes of a character after its first


class LogFile:
    """Takes bytes from one thread (``write``) while others ask for ``latest`` and ``signs``.

    A disk that refuses is not the container's fault: what comes is still counted and looked through, and
    ``close`` says it.
    """

    def __init__(
        self,
        folder: Path,
        secrets: Secrets,
        signs: Mapping[str, Sign],
        head: int = HEAD_BYTES,
        tail: int = TAIL_BYTES,
        name: str = NAME,
    ) -> None:
        self.path = folder / name
        self.total_bytes = 0  # as text, without secrets
        self._redacting = SecretStream(secrets)
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._scan = Scan(signs)
        self._latest = bytearray()
        self._ends = _Ends(self.path, head, tail)
        self._refused: OSError | None = None
        self._closed = False
        self._lock = threading.Lock()

    @property
    def dropped_bytes(self) -> int:
        """So much of the total is not in the closed file."""
        return self._ends.dropped_bytes

    def write(self, piece: bytes) -> None:
        """Take what was printed next. Never raises; after ``close`` nothing more is taken."""
        with self._lock:
            if not self._closed:
                self._keep(self._decoder.decode(self._redacting.feed(piece)).encode())

    def latest(self) -> str:
        """The end of what was printed so far, at the most 64 KiB."""
        with self._lock:
            return self._latest[-_LATEST_BYTES:].decode(errors="replace")

    def signs(self) -> dict[str, str]:
        """The signs that were seen so far, by name, each with the first text that showed it."""
        with self._lock:
            return self._scan.seen()

    def close(self) -> None:
        """Finish the file. Idempotent. Raises CellFailure (DISK_FULL) where the disk refused any of it."""
        with self._lock:
            if not self._closed:
                self._closed = True
                self._keep(self._decoder.decode(self._redacting.finish(), final=True).encode())
                self._scan.finish()
                self._try(self._ends.finish)
                with contextlib.suppress(OSError):
                    self._ends.close()
            if self._refused is not None:
                why = os.strerror(self._refused.errno or errno.EIO)
                raise CellFailure(
                    Cause.DISK_FULL, f"the log could not be kept: cannot write {self.path}: {why}"
                )

    def _keep(self, text: bytes) -> None:
        self.total_bytes += len(text)
        self._scan.feed(text)
        self._latest += text[-_LATEST_BYTES:]
        if len(self._latest) > 4 * _LATEST_BYTES:
            del self._latest[:-_LATEST_BYTES]
        self._try(lambda: self._ends.write(text))

    def _try(self, action: Callable[[], None]) -> None:
        if self._refused is None:
            try:
                action()
            except OSError as error:
                self._refused = error


class _Ends:
    """The file: its head, a line that says what was left out, its tail.

    Until it is finished the tail is in two files that take turns, ``.tail`` and ``.tail-before``, so that
    after a kill -9 the beginning and the latest are there. Every method may raise OSError.
    """

    def __init__(self, path: Path, head: int, tail: int) -> None:
        self.dropped_bytes = 0
        self._dropped_lines = 0
        self._path = path
        self._tail_path = path.with_name(f"{path.name}.tail")
        self._before_path = path.with_name(f"{path.name}.tail-before")
        self._head, self._tail = head, tail
        self._file: BinaryIO | None = None
        self._room = 0  # in the file that is written to
        self._size = self._lines = 0  # what is in it
        self._before_size = self._before_lines = 0
        self._in_tail = False

    def write(self, text: bytes) -> None:
        """``text`` is whole characters; none is cut in two by what is left out."""
        while text:
            end = min(len(text), self._room)
            while 0 < end < len(text) and text[end] & 0xC0 == 0x80:
                end -= 1
            if end == 0:
                self._next_file()
                continue
            _write_all(self._opened(), text[:end])
            self._size += end
            self._lines += text.count(b"\n", 0, end)
            self._room = self._room - end if end == len(text) else 0
            text = text[end:]

    def finish(self) -> None:
        """Make one file of what there is."""
        if self._file is None:
            self._next_file()
        if self._in_tail:
            self._opened().close()
            with self._path.open("ab", buffering=0) as whole:
                self._join(whole)
                os.fsync(whole.fileno())
            self._tail_path.unlink()
            self._before_path.unlink(missing_ok=True)
        else:
            os.fsync(self._opened().fileno())

    def close(self) -> None:
        if self._file is not None:
            self._file.close()

    def _opened(self) -> BinaryIO:
        if self._file is None:
            raise RuntimeError("nothing is open yet")
        return self._file

    def _next_file(self) -> None:
        path, room = self._path, self._head
        if self._file is not None:
            self._file.close()
            if self._in_tail:
                self.dropped_bytes += self._before_size
                self._dropped_lines += self._before_lines
                self._tail_path.replace(self._before_path)
                self._before_size, self._before_lines = self._size, self._lines
            self._in_tail = True
            path, room = self._tail_path, self._tail
        # Unbuffered: what was written outlives this process.
        self._file = path.open("wb", buffering=0)
        self._room, self._size, self._lines = room, 0, 0

    def _join(self, whole: BinaryIO) -> None:
        """Append the tail: of the two files the last ``tail`` bytes, from the beginning of a line."""
        surplus = max(0, self._before_size + self._size - self._tail)
        with contextlib.ExitStack() as stack:
            parts = [stack.enter_context(self._tail_path.open("rb"))]
            if self._before_size:
                parts.insert(0, stack.enter_context(self._before_path.open("rb")))
            if surplus:
                self._skip(parts[0], surplus)
            if self.dropped_bytes:
                note = (
                    f"\n[{self.dropped_bytes:,} bytes in {self._dropped_lines:,} lines are left out here]\n"
                )
                _write_all(whole, note.encode())
            for part in parts:
                while piece := part.read(_PIECE):
                    _write_all(whole, piece)

    def _skip(self, part: BinaryIO, size: int) -> None:
        piece = b""
        while size > 0:
            piece = part.read(min(size, _PIECE))
            size -= len(piece)
            self._drop(piece)
        if piece.endswith(b"\n"):
            return
        line = part.readline(_LONGEST_LINE)
        if not line.endswith(b"\n"):  # too long to leave out: from the beginning of a character then
            part.seek(-len(line), os.SEEK_CUR)
            line = line[: len(line) - len(line.lstrip(_CONTINUATIONS))]
            part.seek(len(line), os.SEEK_CUR)
        self._drop(line)

    def _drop(self, piece: bytes) -> None:
        self.dropped_bytes += len(piece)
        self._dropped_lines += piece.count(b"\n")


def _write_all(file: BinaryIO, text: bytes) -> None:
    """A disk that is nearly full takes a part, and refuses the rest with an error."""
    left = memoryview(text)
    while left:
        left = left[file.write(left) :]
