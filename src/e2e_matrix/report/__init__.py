"""Reports: what a run's results.json says, for people. One module per format, one line here for each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from e2e_matrix import store
from e2e_matrix.errors import BadInput, Problem
from e2e_matrix.report import html, markdown
from e2e_matrix.results import Results


@dataclass(frozen=True)
class Format:
    """A way to write a report.

    ``render(results, folder)`` is pure: the same results give the same text, whenever and wherever it runs.
    ``folder`` is the run's, for a format that shows what lies beside results.json.
    """

    filename: str
    render: Callable[[Results, Path], str]


FORMATS: dict[str, Format] = {
    "html": Format("report.html", html.render),
    "md": Format("report.md", markdown.render),
}


def preload() -> None:
    """Get ready to render while there is nothing else to do; nothing depends on it."""
    html.preload()


def write_reports(folder: Path, formats: Sequence[str] | None = None) -> list[Path]:
    """Render a run's folder in ``formats`` (names in FORMATS; None: all) and say what was written.

    Raises ``BadInput`` for an unknown format or a folder without results, ``InfrastructureError`` where the
    disk refuses.
    """
    names = list(dict.fromkeys(FORMATS if formats is None else formats))
    unknown = [
        Problem("", 0, 0, f"there is no report format {name!r}", f"Use one of: {', '.join(FORMATS)}.")
        for name in names
        if name not in FORMATS
    ]
    if unknown:
        raise BadInput(unknown)
    results = store.load(folder)
    written = []
    for name in names:
        path = folder / FORMATS[name].filename
        store.write_atomically(path, FORMATS[name].render(results, folder).encode())
        written.append(path)
    return written
