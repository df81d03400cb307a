"""JUnit XML, in Surefire's dialect: a suite for each scenario, and in it a case for each cell.

A failure is the product's, an error the infrastructure's; what has no verdict is skipped. Attempts beside the
one that counts are ``flaky...`` in a cell that passed, and ``rerun...`` in one that did not. Elements and
attributes are those of junit-10.xsd of Jenkins' xunit plugin, but for a case's properties, which pytest made
usual.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC
from pathlib import Path
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from e2e_matrix.failures import BROKEN, Outcome
from e2e_matrix.report.account import (
    advice_for,
    earlier,
    message_of,
    names_of,
    output_of,
    room_for_each,
    trace_of,
)
from e2e_matrix.report.cell_view import evidence_link
from e2e_matrix.results import Attempt, Cell, Results, Run, plain_decimal
from e2e_matrix.reused_words import reused_from
from e2e_matrix.text import one_line

_DECLARATION = '<?xml version="1.0" encoding="UTF-8"?>\n'
_WORDS = {Outcome.FAILED: "failure", Outcome.ERROR: "error"}


def render(results: Results, folder: Path) -> str:
    """The run as one document."""
    room = room_for_each(results)
    suites: dict[str, list[tuple[str, Cell]]] = {}
    for name, cell in zip(names_of(results.cells), results.cells, strict=True):
        suites.setdefault(cell.scenario, []).append((name, cell))
    root = _element("testsuites", name=results.run.subject, **_counts(results.cells))
    root.extend(_suite(scenario, cases, results.run, folder, room) for scenario, cases in suites.items())
    ElementTree.indent(root, " ")
    return _DECLARATION + ElementTree.tostring(root, encoding="unicode") + "\n"


def _suite(scenario: str, cases: Sequence[tuple[str, Cell]], run: Run, folder: Path, room: int) -> Element:
    cells = [cell for _, cell in cases]
    began = min((one.started_at for cell in cells for one in cell.attempts), default=run.started_at)
    suite = _element(
        "testsuite",
        name=scenario,
        **_counts(cells),
        skipped=str(sum(cell.outcome not in (*BROKEN, Outcome.PASSED) for cell in cells)),
        timestamp=f"{began.astimezone(UTC):%Y-%m-%dT%H:%M:%S}",
        file=run.matrix_file,
    )
    suite.append(_properties(_facts_of_run(run)))
    suite.extend(_case(name, cell, run, folder, room) for name, cell in cases)
    return suite


def _counts(cells: Sequence[Cell]) -> dict[str, str]:
    return {
        "tests": str(len(cells)),
        "failures": str(sum(cell.outcome is Outcome.FAILED for cell in cells)),
        "errors": str(sum(cell.outcome is Outcome.ERROR for cell in cells)),
        "time": _seconds(sum(_milliseconds(cell) for cell in cells)),
    }


def _case(name: str, cell: Cell, run: Run, folder: Path, room: int) -> Element:
    # Jenkins takes what stands before the last dot for a package.
    group = f"e2e-matrix.{cell.scenario.replace('.', '_')}"
    case = _element("testcase", classname=group, name=name, time=_seconds(_milliseconds(cell)))
    evidence = evidence_link(cell, folder)
    case.append(_properties(_facts_of_cell(cell, run, evidence)))
    if cell.outcome in BROKEN:
        said = f"{trace_of(cell, room)}\n{advice_for(cell, run)}"
        case.append(_result(_WORDS[cell.outcome], cell, said))
    elif cell.outcome is not Outcome.PASSED:
        case.append(_result("skipped", cell))
    for attempt in earlier(cell):
        if attempt.outcome in BROKEN:
            case.append(_interim(attempt, cell.outcome is Outcome.PASSED, room))
    if told := reused_from(cell):
        where = f", see {evidence}" if evidence else ""
        case.append(_element("system-out", one_line(f"passed ({told}){where}", 1000)))
    if printed := output_of(cell.counted_attempt, room):
        case.append(_element("system-out", printed))
    return case


def _interim(attempt: Attempt, passed: bool, room: int) -> Element:
    tag = ("flaky" if passed else "rerun") + _WORDS[attempt.outcome].capitalize()
    element = _result(tag, attempt)
    element.append(_element("stackTrace", f"attempt {attempt.number}\n{trace_of(attempt, room)}"))
    if printed := output_of(attempt, room):
        element.append(_element("system-out", printed))
    return element


def _result(tag: str, told: Cell | Attempt, text: str | None = None) -> Element:
    kind = told.cause or told.outcome
    message = message_of(told)
    if tag == "skipped":
        message = f"{told.outcome.value.replace('_', ' ')}: {message}"
    return _element(tag, text, message=message, type=kind.value)


def _facts_of_run(run: Run) -> Iterator[tuple[str, str | None]]:
    totals = run.totals
    yield "run", run.id
    yield "verdict", run.verdict.value
    yield "reason", run.reason
    yield "exit-code", str(run.exit_code)
    yield "duration-seconds", f"{run.duration_seconds:.3f}"
    yield "cost-usd", None if totals.cost_usd is None else plain_decimal(totals.cost_usd)
    yield "cost-unknown-cells", str(totals.cost_unknown_cells)
    yield "model", run.llm.model
    yield "model-kind", run.llm.kind
    yield "engine", f"{run.engine.name} {run.engine.version}, {run.engine.platform}"
    yield "e2e-matrix", run.program_version


def _facts_of_cell(cell: Cell, run: Run, evidence: str | None) -> Iterator[tuple[str, str | None]]:
    counts = cell.counted_attempt
    yield "outcome", cell.outcome.value
    yield "cause", cell.cause and cell.cause.value
    yield from ((f"axis.{name}", value) for name, value in cell.axes.items())
    yield "image", cell.image.reference
    yield "digest", cell.image.digest
    yield "platform", cell.platform
    yield "emulated", "true" if cell.emulated else "false"
    yield "flaky", "true" if cell.flaky else None
    yield "reused", "true" if cell.reused else None
    yield "reused-from", cell.reused_from.run if cell.reused_from else None
    yield "evidence", evidence
    yield "attempts", str(len(cell.attempts))
    yield "repetitions", f"{cell.repeat.passed} of {cell.repeat.runs} passed" if cell.repeat else None
    yield "cost-usd", None if cell.cost_usd is None else plain_decimal(cell.cost_usd)
    yield "model", run.llm.model
    yield "server-version", cell.server.version
    yield "server-commit", cell.server.build_git_sha
    yield "files", counts.folder if counts else None


def _properties(facts: Iterator[tuple[str, str | None]]) -> Element:
    """What is known of ``facts``; None is not known, and is not there."""
    properties = _element("properties")
    properties.extend(
        _element("property", name=name, value=value) for name, value in facts if value is not None
    )
    return properties


def _element(tag: str, text: str | None = None, /, **attributes: str) -> Element:
    """``text`` is safe already; the attributes become so: XML cannot even escape what a server may print."""
    element = Element(tag, {name: one_line(value, 300) for name, value in attributes.items()})
    element.text = text
    return element


def _milliseconds(cell: Cell) -> int:
    """Whole, so that the sums of a suite are those of its cases."""
    return round(cell.duration_seconds * 1000)


def _seconds(milliseconds: int) -> str:
    return f"{milliseconds / 1000:.3f}"
