"""A uv that installs nothing: for failures that the real one has only on a bad day.

``python -m support.fake_uv FOLDER CACHE VERSION`` prepares an environment with it, in a process of its own.
"""

from __future__ import annotations

import sys
from pathlib import Path
from unittest.mock import patch

import uv

from e2e_matrix.cancellation import Cancellation
from e2e_matrix.script import sdk

_PROGRAM = r"""#!/bin/sh
cd "{folder}"
echo "$1 $2" >> calls
hook="$1-$2"
test "$1" = venv && hook=venv
for last; do :; done
test -e "$hook" && . "./$hook"
case "$1 $2" in
"python find") echo /bin/sh ;;
venv*) mkdir -p "$last/bin" "$last/lib/python3.13/site-packages" && ln -s /bin/sh "$last/bin/python" ;;
"pip compile") cat "$last" ;;
"pip install")
    for one; do case "$one" in --python=*) python="${{one#--python=}}" ;; esac; done
    mkdir "${{python%/bin/python}}/lib/python3.13/site-packages/openhands_sdk-1.2.3.dist-info" ;;
esac
"""


class FakeUv:
    """The program, and what it was called for. A hook is shell that runs before one of its commands."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.program = folder / "uv"
        self.program.write_text(_PROGRAM.format(folder=folder))
        self.program.chmod(0o755)

    def hook(self, command: str, shell: str) -> None:
        (self.folder / command.replace(" ", "-")).write_text(shell)

    def fail(self, command: str, words: str, code: int = 2) -> None:
        self.hook(command, f"cat >&2 <<'END'\n{words}\nEND\nexit {code}\n")

    def calls(self, command: str) -> int:
        return (self.folder / "calls").read_text().splitlines().count(command)


if __name__ == "__main__":
    with patch.object(uv, "find_uv_bin", lambda: f"{sys.argv[1]}/uv"):
        print(sdk.prepare(sys.argv[3], Cancellation(), cache=Path(sys.argv[2])).python)
