"""Reports: what a run's results.json says, for people and for programs. One module per format, one line here
for each.

A module is loaded when its format is rendered: to plan needs no templates.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from e2e_matrix import store
from e2e_matrix.errors import BadInput, Problem
from e2e_matrix.question import keep_differences
from e2e_matrix.results import Results


@dataclass(frozen=True)
class Format:
    """A way to write a report: its files in the run's folder, each with the module here that renders it."""

    modules: Mapping[str, str]

    def render(self, results: Results, folder: Path) -> dict[str, str]:
        """The text of each file. It is pure: the same results give the same, whenever and wherever.

        ``folder`` is the run's, for a format that shows what lies beside results.json.
        """
        return {name: _renderer(module)(results, folder) for name, module in self.modules.items()}


def _renderer(module: str) -> Callable[[Results, Path], str]:
    function: Callable[[Results, Path], str] = importlib.import_module(f"{__name__}.{module}").render
    return function


FORMATS: dict[str, Format] = {
    "html": Format({"report.html": "html"}),
    "md": Format({"report.md": "markdown"}),
    "junit": Format({"junit.xml": "junit"}),
    "ctrf": Format({"ctrf.json": "ctrf"}),
    "qa": Format({"qa.html": "qa_html", "qa.md": "qa_markdown"}),
}
DEFAULT_FORMATS = ("html", "md")


def preload() -> None:
    """Get ready to render while there is nothing else to do; nothing depends on it."""
    from e2e_matrix.report import html

    html.preload()


def unknown_formats(names: Iterable[str], place: str = "") -> list[Problem]:
    """A problem for each name that is no format; ``place`` is the option that named them."""
    return [
        Problem(place, 0, 0, f"there is no report format {name!r}", f"Use one of: {', '.join(FORMATS)}.")
        for name in names
        if name not in FORMATS
    ]


def write_reports(folder: Path, formats: Sequence[str] | None = None) -> list[Path]:
    """Render a run's folder in ``formats`` (names in FORMATS; None: those that the run was made with) and say
    what was written.

    A run that was made only to be compared with gets no QA report: that of the other run tells of both.

    Raises ``BadInput`` for an unknown format or a folder without results, ``InfrastructureError`` where the
    disk refuses.
    """
    if unknown := unknown_formats(dict.fromkeys(formats or ())):
        raise BadInput(unknown)
    results = store.load(folder)
    keep_differences(folder, results)
    written = []
    for name in dict.fromkeys(formats_of(results) if formats is None else _meant_for(results, formats)):
        for filename, text in FORMATS[name].render(results, folder).items():
            store.write_atomically(folder / filename, text.encode())
            written.append(folder / filename)
    return written


def formats_of(results: Results) -> Sequence[str]:
    """The formats that the run was made with, as far as this version knows them."""
    setting = results.run.settings.get("reports.formats")
    names = setting.value if setting else None
    known = [name for name in names if name in FORMATS] if isinstance(names, list) else []
    return _meant_for(results, known or DEFAULT_FORMATS)


def _meant_for(results: Results, names: Sequence[str]) -> Sequence[str]:
    return [name for name in names if name != "qa"] if results.run.for_comparison else names


def files_of(results: Results) -> list[str]:
    """The names of the run's reports in its folder, in the order of ``formats_of``."""
    return [filename for name in formats_of(results) for filename in FORMATS[name].modules]
