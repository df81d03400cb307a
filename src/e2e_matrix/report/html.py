"""One self-contained page: no request, no framework; it folds, links and is whole without JavaScript.

Its script only filters, sorts, searches and copies. Of a run with many cells it also unpacks what each cell
looks like inside, which would otherwise make the page ten times as large.
"""

from __future__ import annotations

import base64
import hashlib
import re
import shlex
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from functools import cache, lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup
from markupsafe import escape as escape_html

from e2e_matrix import script_words
from e2e_matrix.advice import ONLY_THEN, was_demo
from e2e_matrix.failures import BROKEN, Outcome
from e2e_matrix.report import drawing, escape, files_of
from e2e_matrix.report.cell_view import CellView, base_of, left_out
from e2e_matrix.report.comparison import changes, compared_figures, measured
from e2e_matrix.report.logs import ALL, Log, logs_of
from e2e_matrix.report.packing import PACK, packed
from e2e_matrix.report.phases import PHASES, spent_on
from e2e_matrix.report.view import View, view_of
from e2e_matrix.results import Attempt, Cell, Results, plain_decimal
from e2e_matrix.text import block, format_bytes, format_money, format_seconds, one_line, told_apart
from e2e_matrix.trend import LOOK_BACK

# With more cells than this the page is dense: what is inside a cell is packed.
DENSE_CELLS = 60
_DENSE_LOGS = ALL // 2
_MOST_CHARACTERS = 60_000
_WORTH_REMEMBERING = 400  # characters
_MOST_ATTEMPTS, _FIRST_ATTEMPTS = 12, 4
# What the page calls the value of an axis that a cell does not have.
NONE = "none"
# The order of the list: what a reader came for first.
_RANKS = [
    Outcome.FAILED,
    Outcome.ERROR,
    "flaky",
    Outcome.CANCELLED,
    Outcome.NOT_RUN,
    Outcome.UNSUPPORTED,
    Outcome.PASSED,
]
_ICON = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16">'
    '<rect width="16" height="16" rx="4" fill="{fill}"/><path d="{path}" fill="none" stroke="#fff" '
    'stroke-width="2" stroke-linecap="round" stroke-linejoin="round"/></svg>'
)
_ICONS = {
    Outcome.PASSED: ("#14693f", "M4 8.5 7 11.5 12 5"),
    Outcome.FAILED: ("#a52a2a", "M5 5 11 11M11 5 5 11"),
    Outcome.ERROR: ("#8a4b00", "M8 4V9M8 12V12"),
}
_OTHER_ICON = ("#55545f", "M4 8H12")


def render(results: Results, folder: Path) -> str:
    """The run as one HTML page, with the logs that lie in ``folder``, as far as they fit."""
    view = view_of(results, folder)
    dense = len(view.cells) > DENSE_CELLS
    logs = logs_of(view.cells, folder, _DENSE_LOGS if dense else ALL)
    ordered = sorted(view.cells, key=_rank)
    style, script = asset("report.css"), asset("report.js")
    return template("report.html.j2").render(
        view=view,
        run=view.run,
        dense=dense,
        ordered=ordered,
        packs=packed(_inside(view, ordered, logs)) if dense else [],
        anchors={item.cell.id: item.anchor for item in view.cells},
        pack=PACK,
        logs=logs,
        values=_values(view),
        places={item.anchor: number for number, item in enumerate(view.cells)},
        beside=[name for name in files_of(results) if name != "report.html"],
        style=Markup(style),
        script=Markup(script),
        policy=policy_of(style, script),
        icon=icon_of(view.verdict.outcome),
    )


def preload() -> None:
    """Compile the templates, which takes longer than filling them; ``render`` does it where nobody did."""
    template("report.html.j2")
    template("_inside.html.j2")


def _inside(view: View, cells: Sequence[CellView], logs: dict[str, list[Log]]) -> Iterator[str]:
    """What is inside each cell."""
    inside = template("_inside.html.j2")
    for item in cells:
        yield inside.render(item=item, run=view.run, logs=logs)


def _rank(view: CellView) -> int:
    return _RANKS.index("flaky" if view.flaky else view.cell.outcome)


def _values(view: View) -> dict[str, str]:
    """By anchor, which value of each axis the cell has: what the filter goes by."""
    numbers = [{value: number for number, value in enumerate(axis.values)} for axis in view.axes]
    return {
        item.anchor: " ".join(
            str(known[item.value_of(axis.name)]) for axis, known in zip(view.axes, numbers, strict=True)
        )
        for item in view.cells
    }


def icon_of(outcome: Outcome) -> str:
    """The page's icon, as an address."""
    fill, path = _ICONS.get(outcome, _OTHER_ICON)
    return "data:image/svg+xml," + quote(_ICON.format(fill=fill, path=path))


def policy_of(style: str, script: str = "") -> str:
    """The page's own style and script by their hashes, its icon, and nothing else."""
    parts = {"style-src": style} | ({"script-src": script} if script else {})
    allowed = {name: _sha256(text) for name, text in parts.items()}
    sources = "; ".join(f"{name} '{digest}'" for name, digest in allowed.items())
    return f"default-src 'none'; {sources}; img-src data:; base-uri 'none'; form-action 'none'"


def _sha256(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


@cache
def template(name: str) -> Template:
    """One of templates/, with everything that they share."""
    return _environment().get_template(name)


@cache
def asset(name: str) -> str:
    """The text of a file beside the templates."""
    return (files("e2e_matrix.report") / "templates" / name).read_text(encoding="utf-8")


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("e2e_matrix.report"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
        finalize=_safe,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        "money": format_money,
        "decimal": plain_decimal,
        "seconds": format_seconds,
        "size": format_bytes,
        "line": _line,
        "excerpt": escape.excerpt,
        "words": lambda outcome: str(outcome).replace("_", " "),
        "commands": _commands,
        "when": _when,
        "date": lambda moment: f"{moment.astimezone(UTC):%Y-%m-%d}",
        "breakable": _breakable,
        "checked": lambda text: Markup(escape_html(text)),  # logs.py made it safe and bounded it
        "shell": shlex.join,
        "sentence": lambda text: f"{text[:1].upper()}{text[1:].rstrip('.')}.",
    }
    environment.globals |= {
        "fact": escape.fact,
        "relative_link": escape.relative_link,
        "left_out": left_out,
        "base_of": base_of,
        "was_demo": was_demo,
        "only_then": ONLY_THEN,
        "choices": _choices,
        "no_name": NONE,
        "shapes": drawing.shapes,
        "outcomes": drawing.outcomes,
        "edges": drawing.edges,
        "labels": drawing.labels,
        "look_back": LOOK_BACK,
        "changes": changes,
        "compared_figures": compared_figures,
        "measured": measured,
        "attempts_shown": _attempts_shown,
        "phases_of": _phases_of,
        "steps_beside": _steps_beside,
    } | {
        word.__name__: word
        for word in (
            script_words.call_rows,
            script_words.conversation_end,
            script_words.counted,
            script_words.described,
            script_words.ended,
            script_words.much_wasted,
            script_words.origin,
            script_words.output_left_out,
            script_words.wasted_words,
        )
    }
    return environment


def _line(value: object, limit: int = 200) -> str:
    text = str(value)
    return _remembered_line(text, limit) if len(text) <= _WORTH_REMEMBERING else one_line(text, limit)


@lru_cache(maxsize=4096)
def _remembered_line(text: str, limit: int) -> str:
    """``one_line``: a thousand cells say much the same."""
    return one_line(text, limit)


def _safe(value: Any) -> Any:
    """What every expression of the templates passes through, also where nobody thought of cleaning it."""
    if isinstance(value, str) and not isinstance(value, Markup):
        if value.isascii() and value.isprintable() and len(value) <= _MOST_CHARACTERS:
            return value  # most are so, and `block` would give them back as they are
        return block(value, _MOST_CHARACTERS, 2000)
    return value


def _commands(text: str) -> Markup:
    """Our own advice, with what stands between backticks as code."""
    # A command in it names a folder of somebody's: this passes the finalizer by, and so cleans by itself.
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape_html(one_line(str(text), 2000)))))


def _breakable(text: str) -> Markup:
    """A name that a narrow column breaks where its parts end, rather than anywhere."""
    # No date, time or version falls apart: between digits there is no such end.
    return Markup(re.sub(r"([/_@]|(?<!\d)[.:]|[.:](?!\d))(?=\w)", r"\1<wbr>", str(escape_html(text))))


def _when(moment: datetime | None) -> str:
    return "unknown" if moment is None else f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def _attempts_shown(cell: Cell) -> list[Attempt]:
    """All of few; of many the first, the last, and the one that counts."""
    attempts, counts = cell.attempts, cell.counted_attempt
    if len(attempts) <= _MOST_ATTEMPTS:
        return attempts
    last = _MOST_ATTEMPTS - _FIRST_ATTEMPTS - 1
    middle = range(_FIRST_ATTEMPTS, len(attempts) - last)
    return [one for number, one in enumerate(attempts) if number not in middle or one is counts]


def _choices(texts: Sequence[str]) -> list[str]:
    """What a filter calls each of them: short, and each another word, since an address is made of it."""
    return told_apart(_line(text, 60) or NONE for text in texts)


def _phases_of(attempts: Sequence[Attempt]) -> list[tuple[str, list[float | None]]]:
    """Seconds by phase, attempt by attempt; phases that none of them reached are left out."""
    rows = [(name, [spent_on(attempt, name) for attempt in attempts]) for name in PHASES]
    first_token = [attempt.phases.first_token for attempt in attempts]
    return [
        row for row in (*rows, ("first token", first_token)) if any(seconds is not None for seconds in row[1])
    ]


def _steps_beside(attempts: Sequence[Attempt]) -> list[tuple[str, list[Any]]]:
    """The steps that broke in one attempt and not in another, with the outcome in each; None: not reached."""
    names = dict.fromkeys(step.name for attempt in attempts for step in attempt.steps)
    rows = []
    for name in names:
        outcomes = [
            next((step.outcome for step in attempt.steps if step.name == name), None) for attempt in attempts
        ]
        if len(set(outcomes)) > 1 and any(outcome in BROKEN for outcome in outcomes):
            rows.append((name, outcomes))
    return rows
