"""The folded end of the Markdown report: which images were tested, with what, and how to do it again."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from e2e_matrix.advice import ONLY_THEN, program_of, was_demo, words_of
from e2e_matrix.report.cell_view import base_of
from e2e_matrix.report.escape import code, fact, fence, prose
from e2e_matrix.report.markdown_blocks import folded, listed, table, table_of
from e2e_matrix.report.view import View
from e2e_matrix.results import Cell, Run
from e2e_matrix.script_words import counted
from e2e_matrix.text import UNKNOWN, format_bytes, one_line

# Characters of a command or a reference: cut, it is of no use.
_WHOLE = 1000
# In results.json, the source of a setting that nobody made.
_NOT_SET = "default"
_MOST_COMMANDS = 50


@dataclass(frozen=True)
class _Tag:
    """What a run found behind one tag, by the cells that ran on it."""

    reference: str
    cells: list[Cell]

    @property
    def index(self) -> str | None:
        return next((cell.image.index_digest for cell in self.cells if cell.image.index_digest), None)

    @property
    def pinned(self) -> list[str]:
        """By digest: the index, else what is known of the platforms."""
        pins = [cell.image.pinned for cell in self.cells if cell.image.pinned]
        return [f"{pins[0].partition('@')[0]}@{self.index}"] if pins and self.index else pins


def images(view: View) -> str:
    """Every image: platforms, base, server, how to pull it, tags and digests."""
    tags = _tags(view)
    parts = [
        _overview(tags),
        *_pulling(view.run, tags),
        "**All tags**, with their digests",
        fence("\n".join(line for tag in tags for line in _digests(tag))),
    ]
    return folded("Images", "\n\n".join(parts))


def environment(view: View) -> str:
    """Engine, machine, model, and the settings that somebody made."""
    run, engine = view.run, view.run.engine
    facts = [
        ("scenario", ", ".join(code(name) for name in view.scenarios)),
        ("model", f"{code(run.llm.model)} ({prose(run.llm.kind)})"),
        ("engine", code(f"{engine.name} {engine.version}, {engine.platform}, {engine.operating_system}")),
        ("machine", f"{engine.cpus} CPUs, {format_bytes(engine.memory_bytes)}; {run.workers} workers"),
        ("emulated CPU", code(run.emulated_cpu) if run.emulated_cpu else ""),
        ("run", f"{code(run.id)}, {run.started_at:%Y-%m-%d %H:%M:%S} UTC"),
        ("program", f"e2e-matrix {code(run.program_version)}, matrix {code(run.matrix_file)}"),
    ]
    told = listed(f"{name}: {value}" for name, value in facts if value)
    return folded("Environment", "\n\n".join([told, *_settings(run)]))


def reproducing(view: View) -> str:
    """The command of the run, and those of its cells."""
    cells = [cell.again for cell in view.cells]
    parts = []
    if view.run.command:
        parts += ["The run:", _commands([shlex.join([program_of(view.run), *words_of(view.run.command)])])]
    if cells:
        parts += ["One cell of it:", _commands(cells[:_MOST_COMMANDS])]
    if len(cells) > _MOST_COMMANDS:
        parts.append(f"… and {len(cells) - _MOST_COMMANDS:,} more, each by its id.")
    return folded("How to reproduce", "\n\n".join(parts))


def _tags(view: View) -> list[_Tag]:
    found: dict[str, list[Cell]] = {}
    for one in view.cells:
        found.setdefault(one.cell.image.reference, []).append(one.cell)
    return [_Tag(reference, cells) for reference, cells in found.items()]


def _overview(tags: Sequence[_Tag]) -> str:
    columns = {
        "image": [code(tag.reference) for tag in tags],
        "platforms": [_different(_platform(cell) for cell in tag.cells) for tag in tags],
        "base image": [_different(_code(base_of(cell.image)) for cell in tag.cells) for tag in tags],
        "server": [_different(_code(cell.server.version) for cell in tag.cells) for tag in tags],
    }
    return table_of(columns, nothing=UNKNOWN)


def _different(told: Iterable[str]) -> str:
    return "<br>".join(one for one in dict.fromkeys(told) if one) or UNKNOWN


def _code(text: str | None) -> str:
    return code(text) if text else ""


def _platform(cell: Cell) -> str:
    emulated = ", *emulated*" if cell.emulated else ""
    size = f" {format_bytes(cell.image.size_bytes)}" if cell.image.size_bytes is not None else ""
    return f"{code(cell.platform)}{size}{emulated}"


def _pulling(run: Run, tags: Sequence[_Tag]) -> list[str]:
    if was_demo(run):
        return [ONLY_THEN]
    parts = ["**Pull**, for the platform of the machine", _commands(_pull(tag.reference) for tag in tags)]
    if by_digest := [_pull(pin) for tag in tags for pin in tag.pinned]:
        parts += ["**Pull exactly these**, whatever the tags have become", _commands(by_digest)]
    return parts


def _pull(reference: str) -> str:
    # It will be typed as it stands: what is no reference must not become a command.
    return f"docker pull {shlex.quote(one_line(reference, _WHOLE))}"


def _digests(tag: _Tag) -> Iterator[str]:
    """Each tag with its digest below: beside it, both would be too long to be seen."""
    named = [(tag.reference, tag.index)]
    named += [
        (image.arch_tag or f"{tag.reference} ({image.platform})", image.digest)
        for image in (cell.image for cell in tag.cells)
        if image.arch_tag or image.digest
    ]
    for name, digest in dict.fromkeys(named):
        yield one_line(name, _WHOLE)
        if digest:
            yield f"  {one_line(digest)}"


def _settings(run: Run) -> list[str]:
    made = {name: one for name, one in run.settings.items() if one.source != _NOT_SET}
    rows = [[code(name), code(fact(name, one.value)), prose(one.source)] for name, one in made.items()]
    others = len(run.settings) - len(made)
    left = [f"At its default: {counted(others, 'other setting')}."] if others else []
    return [*([table(["setting", "value", "from"], rows)] if rows else []), *left]


def _commands(commands: Iterable[str]) -> str:
    return fence("\n".join(dict.fromkeys(one_line(command, _WHOLE) for command in commands)), "sh")
