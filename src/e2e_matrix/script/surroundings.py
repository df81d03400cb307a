"""What a script finds around it: its environment, its arguments, its folders, and what its server sees."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from e2e_matrix.engine.base import Mount
from e2e_matrix.script import checkout
from e2e_matrix.script.broker import Booted
from e2e_matrix.script.scratch import Scratch
from e2e_matrix.script.sdk import Interpreter
from e2e_matrix.script.settings import RUN_TIME_FIELDS, ScriptSettings

_BASE_URL, _SESSION_KEY = (f"{{{name}}}" for name in RUN_TIME_FIELDS)
_SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True)
class Surroundings:
    """``script`` and the ``root`` of its checkout lie on this host; ``origin`` is None where nobody knows."""

    settings: ScriptSettings
    script: Path
    root: Path
    interpreter: Interpreter
    scratch: Scratch
    origin: checkout.Origin | None = None

    @property
    def reads_address(self) -> bool:
        """Whether it starts no server itself: it wants to be told where one is."""
        return any(_BASE_URL in text for text in self._texts)

    @property
    def reads_session_key(self) -> bool:
        return any(_SESSION_KEY in text for text in self._texts)

    @property
    def working_directory(self) -> Path:
        return self.root if self.settings.cwd == "checkout" else self.scratch.tmp

    @property
    def mounts(self) -> Sequence[Mount]:
        """What its server sees at the same paths: its temporary files, and its checkout, to read.

        Not the folder that a lone script lies in, which may be somebody's home, or /tmp.
        """
        shared = [Mount(str(path), str(path)) for path in (self.scratch.tmp, self.scratch.home)]
        is_one = self.settings.at is not None or checkout.is_checkout(self.root)
        if not is_one or self.scratch.root.is_relative_to(self.root):
            return shared
        return [*shared, Mount(str(self.root), str(self.root), read_only=True)]

    def command(self, first: Booted | None) -> Sequence[str]:
        """``first`` is the server that was started before the script."""
        arguments = [_filled(argument, first) for argument in self.settings.arguments]
        return [str(self.interpreter.python), str(self.script), *arguments]

    def environment(self, variables: Mapping[str, str | None], first: Booted | None) -> Mapping[str, str]:
        """All that its process gets: it inherits nothing of the runner's, whose secrets are not the script's.

        What the matrix says wins over ``variables``, but that PYTHONPATH only follows theirs: it is what puts
        the runner's helpers into the process.
        """
        binaries = self.interpreter.python.parent
        known: dict[str, str | None] = {
            "PATH": f"{binaries}:{_SYSTEM_PATH}",
            "VIRTUAL_ENV": str(binaries.parent),
            "HOME": str(self.scratch.home),
            "TMPDIR": str(self.scratch.tmp),
            "LANG": "C.UTF-8",
            "PYTHONUNBUFFERED": "1",
            "PYTHONDONTWRITEBYTECODE": "1",  # or importing from a checkout would write into it
            **variables,
        }
        own = {name: _filled(text, first) for name, text in self.settings.environment.items()}
        # The root last: a script may import more of its checkout, as it can where that is installed.
        paths = [known.get("PYTHONPATH"), own.pop("PYTHONPATH", None), str(self.root)]
        merged = {**known, **own, "PYTHONPATH": ":".join(filter(None, paths))}
        return {name: value for name, value in merged.items() if value is not None}

    @property
    def _texts(self) -> Sequence[str]:
        return [*self.settings.arguments, *self.settings.environment.values()]


def _filled(text: str, first: Booted | None) -> str:
    if first is None:
        return text
    return text.replace(_BASE_URL, first.base_url).replace(_SESSION_KEY, first.session_api_key or "")
