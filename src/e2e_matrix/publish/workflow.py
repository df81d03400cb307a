"""What a run tells the GitHub workflow that it is a step of: annotations, a summary, outputs for later steps.

How they are written is in docs.github.com, "Workflow commands for GitHub Actions"; how they are read, in
actions/runner. None of it decides anything: what cannot be written is said on stderr, and the verdict stands.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from e2e_matrix.assessment import Assessment, Standing
from e2e_matrix.errors import BadInput, E2EMatrixError, InfrastructureError, Problem
from e2e_matrix.failures import Outcome
from e2e_matrix.matrix_profiles import split
from e2e_matrix.matrix_yaml import Document, Scalar, Tree, read_document
from e2e_matrix.question import assessed_in, exit_code_of
from e2e_matrix.report import FORMATS, files_of
from e2e_matrix.report.cell_view import CellView
from e2e_matrix.report.markdown import compose
from e2e_matrix.report.view import Broken, NotTested, View, build, view_of
from e2e_matrix.results import Cell, Results, plain_decimal
from e2e_matrix.text import block, one_line
from e2e_matrix.workflow_log import is_workflow, write_command

# Of one step's summary; with more the runner takes none of it.
SUMMARY_BYTES = 1 << 20
# Of each level and step; the runner drops the others without a word.
ANNOTATIONS = 10


def tell(results: Results, folder: Path, environ: Mapping[str, str], out: TextIO, err: TextIO) -> None:
    """Tell the workflow what the run came to; ``folder`` is the run's. Does nothing outside of one."""
    if not is_workflow(environ):
        return
    duties: dict[str, Callable[[], None]] = {
        "annotations": lambda: _annotate(results, environ, out),
        "step summary": lambda: _summarize(view_of(results, folder), environ),
        "outputs": lambda: _set_outputs(results, folder, environ),
    }
    for name, fulfil in duties.items():
        try:
            fulfil()
        except Exception as error:  # noqa: BLE001 - whatever it is, it must not change what the run came to
            reason = one_line(f"{type(error).__name__}: {error}", 500)
            with suppress(OSError, ValueError):  # nobody reads it
                print(f"e2e-matrix: the workflow's {name} could not be written: {reason}", file=err)


def tell_refusal(error: E2EMatrixError, environ: Mapping[str, str], out: TextIO, err: TextIO) -> None:
    """Tell the workflow of a run that could not be made. Does nothing outside of one."""
    if not is_workflow(environ):
        return
    problems = error.problems if isinstance(error, BadInput) else (Problem("", 0, 0, str(error)),)
    told = [
        Annotation(
            "error",
            "e2e-matrix",
            block("\n".join(filter(None, [problem.message, problem.hint])), 1000, 10),
            _relative(problem.file, environ) if problem.line else None,
            problem.line or None,
        )
        for problem in problems
    ]
    said = {
        "verdict": Outcome.ERROR.value,
        "reason": one_line(str(error), 500),
        "exit-code": str(error.exit_code),
    }
    try:
        for annotation in _first(told):
            write_command(out, annotation.command)
        _write_outputs(said, environ)
    except OSError as trouble:
        print(f"e2e-matrix: the workflow could not be told: {one_line(str(trouble), 500)}", file=err)


@dataclass(frozen=True)
class Annotation:
    """A remark at a line of a file (from 1), where they are known. ``level`` is error or warning."""

    level: str
    title: str
    message: str
    file: str | None = None
    line: int | None = None

    @property
    def command(self) -> str:
        """The workflow command that makes it: one line, whatever is in its texts."""
        properties = {"file": self.file, "line": self.line and str(self.line), "title": self.title}
        told = ",".join(f"{name}={_escaped(value, ',:')}" for name, value in properties.items() if value)
        return f"::{self.level} {told}::{_escaped(self.message)}"


def annotations_of(view: View, place: Callable[[Cell], tuple[str | None, int | None]]) -> list[Annotation]:
    """An error for each cell that broke and a warning for what else is to be known, as far as a step may have
    them. ``place`` says where a cell was asked for.
    """
    errors = [
        Annotation("error", _title(item), _message(item), *place(item.view.cell)) for item in view.broken
    ]
    warnings = [
        Annotation("warning", f"{one_line(one.cell.id, 100)}: {word}", message, *place(one.cell))
        for one, word, message in _remarks(view)
    ]
    warnings += [_not_tested(group, *place(group.cells[0].cell)) for group in view.not_tested]
    return [*_first(errors), *_first(warnings)]


def _annotate(results: Results, environ: Mapping[str, str], out: TextIO) -> None:
    matrix_file, profile = results.run.matrix_file, results.run.settings.get("profile")
    file = _relative(matrix_file, environ)
    document = _document(matrix_file, profile.value if profile else None)

    def place(cell: Cell) -> tuple[str | None, int | None]:
        return file, _line_of(cell, document) if file and document else None

    for annotation in annotations_of(build(results), place):
        write_command(out, annotation.command)


def _title(item: Broken) -> str:
    where = one_line(item.step.name, 60) if item.step else item.view.cell.outcome.value
    return f"{one_line(item.view.cell.id, 100)}: {where}"


def _message(item: Broken) -> str:
    said = [block(item.message, 1000, 6)]
    said += [
        f"{word}: {block(text, 400, 4)}"
        for word, text in (("expected", item.expected), ("got", item.got))
        if text is not None
    ]
    return "\n".join([*said, f"Run just this again: {one_line(item.view.again, 500)}"])


def _remarks(view: View) -> Iterator[tuple[CellView, str, str]]:
    """The cells that passed, and are worth a word."""
    for one in view.flaky:
        before = one.failed_before
        why = f" Before: {one_line(before.message, 400)}" if before and before.message else ""
        yield one, "flaky", f"It passed only at attempt {one.cell.attempt or len(one.cell.attempts)}.{why}"
    for one in view.remarkable:
        yield one, one.cell.outcome.value, one_line("; ".join(one.notes), 1000)


def _not_tested(group: NotTested, file: str | None, line: int | None) -> Annotation:
    names = ", ".join(one_line(one.cell.id, 100) for one in group.cells[:20])
    more = f" and {len(group.cells) - 20} more" if len(group.cells) > 20 else ""
    word = group.outcome.value.replace("_", " ")
    message = f"{names}{more}: {one_line(group.message, 400)}"
    return Annotation("warning", word, f"{message}\n{group.do}" if group.do else message, file, line)


def _first(found: Sequence[Annotation]) -> Sequence[Annotation]:
    """As many as are shown; the last one counts the rest."""
    if len(found) <= ANNOTATIONS:
        return found
    kept = found[: ANNOTATIONS - 1]
    more = f"{len(found) - len(kept)} more {found[0].level}s"
    return [*kept, Annotation(found[0].level, more, f"{more}: the step's summary and the report have all.")]


def _escaped(text: str, more: str = "") -> str:
    for letter in f"%\r\n{more}":
        text = text.replace(letter, f"%{ord(letter):02X}")
    return text


def _relative(matrix_file: str, environ: Mapping[str, str]) -> str | None:
    """The file as the repository knows it; None where it is not in the workspace."""
    workspace = environ.get("GITHUB_WORKSPACE")
    try:
        return Path(matrix_file).resolve().relative_to(Path(workspace or "").resolve()).as_posix()
    except ValueError:
        return None


def _document(matrix_file: str, profile: str | None) -> Document | None:
    """The file as it is now, with the run's profile; None where it cannot be read any more."""
    try:
        document = read_document(Path(matrix_file), None)
    except BadInput:
        return None
    if not isinstance(document.tree, dict):
        return None
    family = split(document)
    return family.profiles.get(profile or "", family.base)


def _line_of(cell: Cell, document: Document) -> int | None:
    """Where the file asks for the cell: at its scenario, where there are several, else at an axis's value."""
    scenarios, axes = _below(document.tree, "scenarios"), _below(document.tree, "matrix")
    if isinstance(scenarios, dict) and len(scenarios) > 1 and cell.scenario in scenarios:
        return document.keys[("scenarios", cell.scenario)][0]
    for axis, value in cell.axes.items():
        values = _below(axes, axis)
        for index, written in enumerate(values if isinstance(values, list) else ()):
            if isinstance(written, Scalar) and written.text == value:
                return document.values[("matrix", axis, index)][0]
    return None


def _below(tree: Tree, key: str) -> Tree:
    return tree.get(key) if isinstance(tree, dict) else None


def _summarize(view: View, environ: Mapping[str, str]) -> None:
    if not (name := environ.get("GITHUB_STEP_SUMMARY")):
        return
    path = Path(name)
    room = SUMMARY_BYTES - _size(path) - len(b"\n\n")
    text = compose(view, room).encode()
    if len(text) > room:
        raise InfrastructureError(f"{name} has only {max(room, 0)} bytes left")
    _append(path, b"\n" + text if _size(path) else text)


def _set_outputs(results: Results, folder: Path, environ: Mapping[str, str]) -> None:
    _write_outputs(outputs(results, folder), environ)


def _write_outputs(values: Mapping[str, str], environ: Mapping[str, str]) -> None:
    if name := environ.get("GITHUB_OUTPUT"):
        text = "".join(_output(key, value) for key, value in values.items())
        _append(Path(name), text.encode("utf-8", "surrogateescape"))


def outputs(results: Results, folder: Path) -> dict[str, str]:
    """What later steps may ask for. ``cost`` is an exact number of US dollars, "" where nobody knows it.

    ``qa`` is the verdict over the comparison with the baseline, where there is one.
    ``report`` is the page, or another report where there is none; it and ``folder`` are absolute paths.
    """
    run, totals = results.run, results.run.totals
    assessed = assessed_in(folder, results)
    counts = ("cells", "passed", "failed", "error", "unsupported", "cancelled", "not_run", "flaky")
    cost = None if totals.cost_unknown_cells else totals.cost_usd
    order = [filename for form in FORMATS.values() for filename in form.modules]
    files = [folder / filename for filename in sorted(files_of(results), key=order.index)]
    report = next((file for file in files if file.exists()), None)
    return {
        "verdict": run.verdict.value,
        "reason": one_line(_reason(results, assessed), 500),
        "exit-code": str(exit_code_of(results, assessed)),
        "run-id": one_line(run.id),
        **({"qa": assessed.standing.value} if assessed else {}),
        **{name.replace("_", "-"): str(getattr(totals, name)) for name in counts},
        "cost": "" if cost is None else plain_decimal(cost),
        "report": str(report.absolute()) if report else "",
        "folder": str(folder.absolute()),
    }


def _reason(results: Results, assessed: Assessment | None) -> str:
    """Why it ends as it does: a run that passed may not be what its baseline was."""
    if assessed is None or assessed.standing is Standing.PASS:
        return results.run.reason
    return f"{results.run.reason} Against its baseline: {assessed.standing}: {assessed.why}."


def _output(name: str, value: str) -> str:
    if not set(value) & {"\n", "\r"}:
        return f"{name}={value}\n"
    mark = f"end-{secrets.token_hex(16)}"  # which nobody could have put into the value
    return f"{name}<<{mark}\n{value}\n{mark}\n"


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _append(path: Path, content: bytes) -> None:
    """Add to a file of lines, the last of which somebody may have left open."""
    with path.open("a+b") as file:
        if file.tell():
            file.seek(-1, 2)
            if file.read() != b"\n":
                content = b"\n" + content
        file.write(content)
