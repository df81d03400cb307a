"""Folders that the script makes are shared with the container, whose user is another."""

import os

_ALL = 0o777


def open_to_all(*shared: str | None) -> None:
    """From now on ``os.mkdir`` below one of these folders lets everybody write.

    ``tempfile.mkdtemp`` asks for 0700, and its folder is what a script gives the server to work in.
    """
    tops = tuple(os.path.join(os.path.abspath(top), "") for top in shared if top)
    make = os.mkdir

    def mkdir(path, mode=_ALL, *, dir_fd=None):  # type: ignore[no-untyped-def]
        if dir_fd is None and os.path.abspath(os.fsdecode(path)).startswith(tops):
            mode |= _ALL
        make(path, mode, dir_fd=dir_fd)

    os.mkdir = mkdir
