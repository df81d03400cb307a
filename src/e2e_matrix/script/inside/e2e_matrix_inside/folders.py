"""What the script makes in its shared folders is for the container as well, whose user is another."""

import os

_FOLDER, _FILE = 0o777, 0o666


def open_to_all(*shared: str | None) -> None:
    """From now on everybody may write to what is made below one of these folders, and it is the default.

    ``tempfile`` asks for 0700 and 0600, and makes what a script gives the server to work in.
    """
    tops = tuple(os.path.join(os.path.abspath(top), "") for top in shared if top)
    make_folder, open_file = os.mkdir, os.open

    def is_shared(path: str | bytes | os.PathLike[str], dir_fd: int | None) -> bool:
        return dir_fd is None and os.path.abspath(os.fsdecode(path)).startswith(tops)

    def mkdir(path, mode=0o777, *, dir_fd=None):  # type: ignore[no-untyped-def]
        make_folder(path, mode | _FOLDER if is_shared(path, dir_fd) else mode, dir_fd=dir_fd)

    def open(path, flags, mode=0o777, *, dir_fd=None):  # type: ignore[no-untyped-def]
        if flags & os.O_CREAT and is_shared(path, dir_fd):
            mode |= _FILE
        return open_file(path, flags, mode, dir_fd=dir_fd)

    os.umask(0)
    os.mkdir, os.open = mkdir, open
