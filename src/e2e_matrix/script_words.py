"""What an example script did, in words: the same on the terminal and in every report.

Text from outside is raw in here; each place that shows it escapes it.
"""

from __future__ import annotations

import re
import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal

from e2e_matrix.results import ApiCall, Attempt, Cell, ScriptRun, Step
from e2e_matrix.text import ELLIPSIS, format_bytes, format_money, format_seconds, one_line

# Seconds. So much waste is worth a line; less where it is half of the script's time, but for a trifle.
_MUCH, _TRIFLE = 5.0, 1.0
# Rows of calls that a table shows: the beginning says what the script did, the end how it ended.
FIRST_ROWS, LAST_ROWS = 40, 20
_ID = re.compile(
    r"(?<=/)(?:[0-9a-f]{32}|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})(?![^/?])", re.IGNORECASE
)


@dataclass(frozen=True)
class CallRow:
    """Equal calls, one after another. ``before``: calls between this row and the last one that are not shown.

    ``late``: the script's last conversation had ended by then. Moments count from the attempt's start.
    """

    method: str
    path: str
    status: int | None
    count: int
    starts_seconds: float
    ends_seconds: float
    slowest_seconds: float
    late: bool
    before: int = 0

    @property
    def words(self) -> str:
        """Such as ``GET /api/conversations/… 200 ×60``."""
        times = f" ×{self.count}" if self.count > 1 else ""
        return f"{self.method} {self.path} {self.answer}{times}"

    @property
    def answer(self) -> str:
        return "no answer" if self.status is None else str(self.status)


def script_of(cell: Cell) -> ScriptRun | None:
    """Of the attempt that counts; None where the scenario is no script, or did not come so far."""
    counts = cell.counted_attempt
    return counts.script if counts else None


def held_conversation(cell: Cell) -> bool:
    """Whether a model was talked to, so that a cost that nobody told is unknown and not none."""
    script = script_of(cell)
    if script is not None:
        return script.conversations > 0
    began = any(step.phase == "conversation" for step in cell.steps)
    return began or cell.phases.conversation is not None


def cost_words(cell: Cell, llm: str) -> str | None:
    """What a cell cost, ``llm`` being the kind of the run's model; None where it held no conversation."""
    return paid_words(cell, cell.cost_usd, llm)


def paid_words(cell: Cell, cost: Decimal | None, llm: str) -> str | None:
    """The same of ``cost``, which is a part of what the cell cost."""
    if cost is None and not held_conversation(cell):
        return None
    return "nothing paid" if cost is None and llm == "replay" else format_money(cost)


def origin(script: ScriptRun) -> str | None:
    """Which commit it is of, such as ``v1.58.2 (4c1f09d2aa31)`` or ``4c1f09d2aa31, changed since``."""
    if script.commit is None:
        return script.revision
    commit = script.commit[:12]
    if script.revision and not script.commit.startswith(script.revision):
        commit = f"{script.revision} ({commit})"
    return f"{commit}, changed since" if script.changed else commit


def ended(script: ScriptRun) -> str:
    """Such as ``exit code 1`` or ``ended by SIGKILL``."""
    if script.exit_code is not None:
        return f"exit code {script.exit_code}"
    if script.signal is not None:
        known = {number.value: number.name for number in signal.Signals}
        return f"ended by {known.get(script.signal, f'signal {script.signal}')}"
    return "did not run" if script.duration_seconds is None else "no exit code"


def costs(script: ScriptRun) -> str | None:
    """What it printed beside what the server counted; None where there was nothing to count."""
    printed, counted = script.printed_cost_usd, script.server_cost_usd
    if printed is None and counted is None:
        return "no cost was printed or counted" if script.conversations else None
    if printed == counted:
        return f"cost {format_money(printed)}, printed and counted alike"
    says = "printed no cost" if printed is None else f"printed cost {format_money(printed)}"
    if counted is None and not script.conversations:
        return f"{says}, and held no conversation"
    return f"{says}, the server counted {format_money(counted)}"


def described(script: ScriptRun) -> str:
    """What it came to, in one line."""
    parts = [ended(script)]
    if script.duration_seconds is not None:
        parts[0] += f" after {format_seconds(script.duration_seconds)}"
        parts.append(counted(script.calls_total, "API call"))
    return ", ".join(filter(None, [*parts, costs(script)]))


def much_wasted(script: ScriptRun) -> float | None:
    """Seconds that it went on after its conversation had ended, where they are worth a line."""
    seconds = script.wasted_seconds
    if seconds is None or seconds < _TRIFLE:
        return None
    half = script.duration_seconds is not None and seconds >= script.duration_seconds / 2
    return seconds if seconds >= _MUCH or half else None


def wasted_words(cell: Cell) -> str:
    """Such as ``1 min 58 s wasted``; empty where it is not worth saying."""
    script = script_of(cell)
    seconds = much_wasted(script) if script else None
    return f"{format_seconds(seconds)} wasted" if seconds is not None else ""


def conversation_end(script: ScriptRun) -> str | None:
    """When its last conversation ended, by the script's own clock, and how."""
    if script.terminal_seconds is None:
        return None
    # Cut short: what a server calls its end must not push the figures out of the line.
    how = f" ({one_line(script.terminal_status, 40)})" if script.terminal_status else ""
    since, of = script.first_request_seconds, "first request"
    if since is None:
        since, of = script.start_seconds or 0.0, "start"
    return f"ended{how} {format_seconds(script.terminal_seconds - since)} after the script's {of}"


def waste(script: ScriptRun) -> str | None:
    """How long it went on after its conversation had ended, and what it did; None where it is little."""
    seconds = much_wasted(script)
    if seconds is None:
        return None
    when = conversation_end(script) or "ended"
    more = script.calls_after_terminal
    asked = f", and asked {counted(more, 'time')} more" if more else ""
    return f"the conversation {when}; the script went on for {format_seconds(seconds)}{asked}"


def remarks(script: ScriptRun) -> list[str]:
    """What a person should know beside ``described``, also of a script that passed."""
    found = [remark] if (remark := waste(script)) else []
    if script.changed and script.commit:
        found.append(f"its file is not as commit {script.commit[:12]} has it")
    if script.left_behind:
        left = counted(script.left_behind, "process", "processes")
        found.append(f"it left {left} running, and they were ended")
    return found


def notes(script: ScriptRun) -> list[str]:
    """What a person should know where ``described`` does not stand: the remarks, and a cost that differs."""
    printed, difference = script.printed_cost_usd, costs(script)
    alike = printed is None or printed == script.server_cost_usd or not (printed or script.conversations)
    return remarks(script) if alike or difference is None else [*remarks(script), difference]


def detail_beside(detail: str | None, output: str | None) -> str | None:
    """A step's detail, unless it is the beginning of the script's output, which is shown anyway."""
    told = detail.removesuffix(ELLIPSIS).rstrip() if detail else ""
    return None if output and output.startswith(told) else detail


def output_left_out(script: ScriptRun) -> str | None:
    """What is not in script.log, where anything is not."""
    if not script.output_dropped_bytes:
        return None
    dropped, whole = format_bytes(script.output_dropped_bytes), format_bytes(script.output_bytes)
    return f"{dropped} from the middle of its {whole} are left out"


def own_parts(step: Step, steps: Sequence[Step]) -> list[tuple[float, float]]:
    """(start, end) of what a step took itself: not what others of ``steps`` took within it."""
    at, end = step.start_seconds, step.start_seconds + step.duration_seconds
    inner = sorted(
        (one.start_seconds, one.start_seconds + one.duration_seconds)
        for one in steps
        if one.duration_seconds < step.duration_seconds and at <= one.start_seconds < end
    )
    parts = []
    for begins, ends in inner:
        if at < begins:
            parts.append((at, begins))
        at = max(at, min(ends, end))
    return [*parts, (at, end)] if at < end or not inner else parts


def own_seconds(attempt: Attempt) -> float | None:
    """The script's time without the boots and stops of its servers; None where none ran."""
    scripts = [step for step in attempt.steps if step.phase == "script"]
    parts = [part for step in scripts for part in own_parts(step, attempt.steps)]
    return sum(end - start for start, end in parts) if scripts else None


def call_rows(script: ScriptRun) -> list[CallRow]:
    """Its calls, equal ones that follow one another as one row; of too many the first and the last."""
    rows: list[CallRow] = []
    for late, call, before in _calls(script):
        row = _row(call, late, before)
        last = rows[-1] if rows else None
        if last and not before and _kind(last) == _kind(row):
            rows[-1] = replace(
                last,
                count=last.count + 1,
                ends_seconds=max(last.ends_seconds, row.ends_seconds),
                slowest_seconds=max(last.slowest_seconds, row.slowest_seconds),
            )
        else:
            rows.append(row)
    if len(rows) <= FIRST_ROWS + LAST_ROWS:
        return rows
    left, tail = rows[FIRST_ROWS:-LAST_ROWS], rows[-LAST_ROWS:]
    missing = sum(row.count + row.before for row in left)
    return [*rows[:FIRST_ROWS], replace(tail[0], before=tail[0].before + missing), *tail[1:]]


def counted(number: int, noun: str, plural: str | None = None) -> str:
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def _calls(script: ScriptRun) -> Iterator[tuple[bool, ApiCall, int]]:
    """Each call, whether it came after the conversation's end, and how many before it were not kept."""
    calls: Sequence[ApiCall] = script.calls
    lost = max(script.calls_total - len(calls), 0)
    middle = len(calls) // 2  # as many of the last are kept as of the first
    for index, call in enumerate(calls):
        late = script.terminal_seconds is not None and call.start_seconds > script.terminal_seconds
        yield late, call, lost if index == middle else 0


def _row(call: ApiCall, late: bool, before: int) -> CallRow:
    path, question, _ = call.path.partition("?")
    return CallRow(
        method=call.method,
        path=_ID.sub(ELLIPSIS, path) + (f"?{ELLIPSIS}" if question else ""),
        status=call.status,
        count=1,
        starts_seconds=call.start_seconds,
        ends_seconds=call.start_seconds + call.duration_seconds,
        slowest_seconds=call.duration_seconds,
        late=late,
        before=before,
    )


def _kind(row: CallRow) -> tuple[object, ...]:
    return row.method, row.path, row.status, row.late
