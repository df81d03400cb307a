"""One self-contained page: no script, no request, no framework; it folds and links without JavaScript."""

from __future__ import annotations

import base64
import hashlib
import re
from datetime import UTC, datetime
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup
from markupsafe import escape as escape_html

from e2e_matrix import script_words
from e2e_matrix.failures import Outcome
from e2e_matrix.report import escape, timeline
from e2e_matrix.report.cell_view import left_out
from e2e_matrix.report.view import build
from e2e_matrix.results import Attempt, Results
from e2e_matrix.text import block, format_bytes, format_money, format_seconds, one_line

# With more cells than this, or with some that broke, those that did not are folded.
OPEN_CELLS = 12
_MOST_CHARACTERS = 60_000
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
_POLICY = "img-src data:; base-uri 'none'; form-action 'none'"
_OTHER_ICON = ("#55545f", "M4 8H12")


def render(results: Results, folder: Path) -> str:
    """The run as one HTML page."""
    view = build(results)
    style = _style()
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    fill, path = _ICONS.get(view.verdict.outcome, _OTHER_ICON)
    return _template().render(
        view=view,
        run=view.run,
        style=Markup(style),
        policy=f"default-src 'none'; style-src 'sha256-{digest}'; {_POLICY}",
        icon="data:image/svg+xml," + quote(_ICON.format(fill=fill, path=path)),
        open_cells=len(view.cells) <= OPEN_CELLS and not view.broken,
    )


def preload() -> None:
    """Compile the templates, which takes longer than filling them; ``render`` does it where nobody did."""
    _template()


@cache
def _template() -> Template:
    return _environment().get_template("report.html.j2")


@cache
def _style() -> str:
    return (files("e2e_matrix.report") / "templates" / "report.css").read_text(encoding="utf-8")


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
        "seconds": format_seconds,
        "size": format_bytes,
        "line": lambda value, limit=200: one_line(str(value), limit),
        "excerpt": escape.excerpt,
        "words": lambda outcome: str(outcome).replace("_", " "),
        "commands": _commands,
        "when": _when,
        "sentence": lambda text: f"{text[:1].upper()}{text[1:]}.",
        "fits": _fits,
    }
    environment.globals |= {
        "fact": escape.fact,
        "log_link": _log_link,
        "left_out": left_out,
        "script_link": _script_link,
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


def _safe(value: Any) -> Any:
    """What every expression of the templates passes through, also where nobody thought of cleaning it."""
    if isinstance(value, str) and not isinstance(value, Markup):
        return block(value, _MOST_CHARACTERS, 2000)
    return value


def _commands(text: str) -> Markup:
    """Our own advice, with what stands between backticks as code."""
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape_html(text))))


def _when(moment: datetime | None) -> str:
    return "unknown" if moment is None else f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def _fits(segment: timeline.Segment, share: float) -> bool:
    """Whether the phase's name fits into its segment of a bar that has ``share`` per cent of the width."""
    return segment.width * share / 100 >= len(segment.phase) * 1.05 + 1.2


def _log_link(attempt: Attempt) -> str | None:
    """The server's log beside the report; None where no container ran, so that there is none."""
    if all(step.phase == "pull" for step in attempt.steps):
        return None
    return escape.relative_link(attempt.folder, "server.log")


def _script_link(attempt: Attempt) -> str | None:
    """The script's output beside the report; None where no script ran."""
    if attempt.script is None or attempt.script.output_bytes is None:
        return None
    return escape.relative_link(attempt.folder, "script.log")
