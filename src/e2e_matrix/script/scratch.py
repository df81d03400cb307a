"""One attempt's folders on this host: the script and the container see them at the same paths.

What lies in them was made by the script and by the container's user, so removing them trusts nothing: every
step is relative to an open folder and follows no link (openat(2)), and no other file system is entered.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import stat
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

from e2e_matrix import owner

PREFIX = "e2e-matrix-"
_OWNER = "owner"
_LONGEST_OWNER = 1024  # bytes
# Short, for the path of a socket has 107 bytes, and the same on every Linux: it is one in the container too.
_PARENT = Path("/tmp")

Note = Callable[[str], None]


class Scratch:
    """A context manager; leaving it removes the folders. ``note`` hears of what could not be removed.

    Errors: OSError where they cannot be made.
    """

    def __init__(self, note: Note, parent: Path = _PARENT) -> None:
        self.root = Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent))  # 0700
        self.tmp = self.root / "tmp"  # 0777: the script's TMPDIR, and in the container
        self.home = self.root / "home"  # 0777: the script's HOME, and in the container
        self.line = self.root / "line"  # 0700: what the runner and the script share, not in the container
        self._note = note
        try:
            (self.root / _OWNER).write_text(owner.current())
            self.line.mkdir(0o700)
            for shared in (self.tmp, self.home):
                shared.mkdir()
                shared.chmod(0o777)  # whatever the umask
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Remove the folders. Idempotent, never raises."""
        try:
            with _opened(self.root.parent.resolve()) as parent:
                _remove(parent, self.root, self._note)
        except OSError as error:
            self._note(f"could not remove {self.root}: {error.strerror}")


def sweep(note: Note, parent: Path = _PARENT) -> None:
    """Remove the folders whose process is gone, as after a kill -9: a line for each. Never raises.

    Only what is certainly ours: a folder of this user that nobody else can enter, with the name of a process
    of this machine in it. What else there may be under such a name stays.
    """
    try:
        with _opened(parent.resolve()) as opened:
            for name in sorted(name for name in _names(opened) if name.startswith(PREFIX)):
                if _is_abandoned(opened, name) and _remove(opened, parent / name, note):
                    note(f"removed {parent / name} (the process that made it is gone)")
    except OSError as error:
        note(f"could not look for what ended runs left in {parent}: {error.strerror}")


def _is_abandoned(parent: int, name: str) -> bool:
    try:
        with _opened(name, parent) as folder:
            found = os.fstat(folder)
            if found.st_uid != os.geteuid() or stat.S_IMODE(found.st_mode) & 0o077:
                return False
            # O_NONBLOCK: it may be a pipe
            file = os.open(_OWNER, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
            with open(file, "rb") as label:  # noqa: PTH123 (a descriptor)
                if not stat.S_ISREG(os.fstat(file).st_mode):
                    return False
                return owner.is_alive(label.read(_LONGEST_OWNER).decode("ascii", "replace")) is False
    except OSError:  # gone meanwhile, no folder, no owner in it: not ours to judge
        return False


def _remove(parent: int, root: Path, note: Note) -> bool:
    """Remove the folder ``root`` in the open folder ``parent``; whether it is gone."""
    try:
        with _opened(root.name, parent) as folder:
            stuck = _clear(folder)
            if not stuck:
                with contextlib.suppress(FileNotFoundError):  # last: until here a sweep could go on with it
                    os.unlink(_OWNER, dir_fd=folder)
        if not stuck:
            os.rmdir(root.name, dir_fd=parent)
    except FileNotFoundError:
        return not root.exists()
    except OSError as error:
        stuck = [error.strerror or type(error).__name__]
    if stuck:
        more = f" and {len(stuck) - 1} more" if len(stuck) > 1 else ""
        note(f"could not remove all of {root}: {stuck[0]}{more}; `sudo rm -r {root}` does")
    return not stuck


def _clear(top: int) -> list[str]:
    """Empty an open folder but for the owner file; what could not be removed, and why.

    Folders inside of others are first moved to the top, so that a tree may be of any depth.
    """
    device = os.fstat(top).st_dev
    taken = set(_names(top)) - {_OWNER}
    waiting = sorted(taken)
    free_names = filter(lambda free: free not in taken, map("removing-{}".format, itertools.count()))
    stuck = []
    while waiting:
        name = waiting.pop()
        try:
            if _remove_one(top, name):
                continue
            with _opened(name, top) as folder:
                if os.fstat(folder).st_dev != device:
                    stuck.append(f"{name} is another file system")
                    continue
                for inner in _names(folder):
                    try:
                        if not _remove_one(folder, inner):
                            moved = next(free_names)
                            os.rename(inner, moved, src_dir_fd=folder, dst_dir_fd=top)
                            waiting.append(moved)
                    except OSError as error:
                        stuck.append(f"{name}/{inner}: {error.strerror}")
            os.rmdir(name, dir_fd=top)
        except FileNotFoundError:
            continue  # another sweep was faster
        except OSError as error:
            stuck.append(f"{name}: {error.strerror}")
    return stuck


def _remove_one(folder: int, name: str) -> bool:
    """Remove a file or an empty folder; False for a folder that is not empty, then writable if it is ours."""
    try:
        os.unlink(name, dir_fd=folder)
    except FileNotFoundError:
        return True
    except IsADirectoryError:
        pass
    else:
        return True
    try:
        os.rmdir(name, dir_fd=folder)
    except OSError:
        _make_writable(folder, name)
        return False
    return True


def _make_writable(folder: int, name: str) -> None:
    # By /proc: chmod(2) follows a link that took the folder's place, fchmod(2) needs a folder one may read.
    found = os.open(name, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=folder)
    try:
        if os.fstat(found).st_uid == os.geteuid():
            Path(f"/proc/self/fd/{found}").chmod(0o700)
    finally:
        os.close(found)


def _names(folder: int) -> list[str]:
    return os.listdir(folder)


@contextlib.contextmanager
def _opened(path: Path | str, folder: int | None = None) -> Iterator[int]:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=folder)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
