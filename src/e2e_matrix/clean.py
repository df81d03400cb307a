"""Removes what runs of ours left on an engine: containers that carry our labels, and nothing else, ever."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from e2e_matrix import owner
from e2e_matrix.engine.base import (
    LABEL_CELL,
    LABEL_DEADLINE,
    LABEL_OWNER,
    LABEL_RUN,
    ContainerSummary,
    Engine,
)
from e2e_matrix.errors import CellFailure, InfrastructureError

Say = Callable[[str], None]


@dataclass(frozen=True)
class Leftover:
    """One container of ours. ``abandoned``: nobody needs it any more, ``why`` says how that is known."""

    container: ContainerSummary
    abandoned: bool
    why: str

    def __str__(self) -> str:
        labels = self.container.labels
        of = " ".join(labels[key] for key in (LABEL_RUN, LABEL_CELL) if key in labels)
        return f"{self.container.name} ({f'{of}; ' if of else ''}{self.why})"


def find(engine: Engine) -> list[Leftover]:
    """Every container of ours on the engine, by name, and whether it is abandoned.

    Errors: CellFailure from the engine (engine/base.py).
    """
    ours = {found.id: found for label in (LABEL_RUN, LABEL_OWNER) for found in engine.list({label: None})}
    return [_judge(ours[key]) for key in sorted(ours, key=lambda key: ours[key].name)]


def clean(
    engine: Engine, everything: bool = False, dry_run: bool = False, say: Say = lambda _: None
) -> list[str]:
    """Remove what abandoned runs left, with ``everything`` also what living ones hold.

    Returns the names of what was removed; with ``dry_run`` of what would have been. One that cannot be
    removed does not stop the others: InfrastructureError names all such at the end.
    """
    leftovers = find(engine)
    removed: list[str] = []
    stuck: list[str] = []
    for leftover in leftovers:
        if not (leftover.abandoned or everything):
            say(f"kept {leftover}")
            continue
        name = leftover.container.name
        if dry_run:
            say(f"would remove {leftover}")
        else:
            try:
                engine.remove(leftover.container.id)
            except CellFailure as failure:
                say(f"could not remove {leftover}: {failure.message}")
                stuck.append(name)
                continue
            say(f"removed {leftover}")
        removed.append(name)
    if stuck:
        raise InfrastructureError(
            f"could not remove {len(stuck)} of {len(leftovers)} containers: {', '.join(stuck)}",
            "The engine's reasons are above; `docker rm -f` with the name often tells more.",
        )
    return removed


def _judge(container: ContainerSummary) -> Leftover:
    deadline = container.labels.get(LABEL_DEADLINE, "")
    match owner.is_alive(container.labels.get(LABEL_OWNER, "")):
        case False:
            return Leftover(container, True, "the process that started it is gone")
        case _ if owner.is_past(deadline):
            return Leftover(container, True, f"its deadline, {deadline}, has passed")
        case True:
            return Leftover(container, False, "its run is alive")
        case _:
            until = f" and its deadline is {deadline}" if deadline else ""
            return Leftover(container, False, f"started on another machine{until}")
