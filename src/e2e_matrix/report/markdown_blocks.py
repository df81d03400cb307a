"""What GitHub's Markdown is made of here: tables, folded parts, lists that say what they leave out.

Text that is given to these functions is Markdown already: what came from outside has passed escape.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from urllib.parse import quote

from e2e_matrix.failures import Outcome

# What GitHub takes, less what a marker and a line around the text may need. A comment is counted in
# characters, of which there are never more than bytes; a step's summary and a check run's in bytes.
COMMENT_BYTES = 65_536 - 1_536
CHECK_BYTES = 65_535 - 1_535
SUMMARY_BYTES = 1_048_576 - 1_576
# What means something in an address, but for parentheses and brackets, which mean something in a link.
_IN_ADDRESS = ":/?#@!$&'*+,;=%~"
MARKS = {
    Outcome.PASSED: "✅",
    Outcome.FAILED: "❌",
    Outcome.ERROR: "⚠️",
    Outcome.UNSUPPORTED: "🚫",
    Outcome.CANCELLED: "⏹️",
    Outcome.NOT_RUN: "➖",
}


def words(outcome: Outcome) -> str:
    return outcome.value.replace("_", " ")


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; every row has as many columns as the header."""
    return "\n".join(f"| {' | '.join(row)} |" for row in (header, ["---"] * len(header), *rows))


def table_of(columns: Mapping[str, Sequence[str]], nothing: str) -> str:
    """A table of equally long columns, but for those that say ``nothing`` in every row."""
    told = {name: column for name, column in columns.items() if set(column) != {nothing}}
    return table(list(told), zip(*told.values(), strict=True))


def listed(lines: Iterable[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


def folded(title: str, body: str) -> str:
    """``title`` is ours: nothing from outside may stand in a summary, where Markdown is not read."""
    return f"<details><summary>{title}</summary>\n\n{body}\n\n</details>"


def link_to(title: str, address: str) -> str:
    """A link to an address of ours, whatever characters stand in it."""
    return f"[{title}]({quote(address, safe=_IN_ADDRESS, errors='replace')})"


def some(entries: Sequence[str], most: int) -> list[str]:
    """The first ``most`` of them, and how many more there are; none of either where ``most`` is 0."""
    left = len(entries) - most
    more = [f"… and {left:,} more."] if left > 0 and most else []
    return [*entries[:most], *more]
