"""Removes what runs of ours left on an engine: what carries our labels, and nothing else, ever.

That is containers (of cells, of probes, of the local registry) and the images that probes import. We make no
network and no volume; the anonymous volumes of an image go with its container.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from e2e_matrix import owner
from e2e_matrix.engine import probe
from e2e_matrix.engine.base import LABEL_CELL, LABEL_DEADLINE, LABEL_OWNER, LABEL_RUN, Engine
from e2e_matrix.errors import CellFailure, InfrastructureError

Say = Callable[[str], None]


@dataclass(frozen=True)
class Leftover:
    """One thing of ours. ``abandoned``: nobody needs it any more, ``why`` says how that is known.

    That is so where its owner is dead or, where that cannot be known, where its deadline has passed.
    """

    kind: str  # "container" or "image"
    id: str
    name: str
    labels: Mapping[str, str]
    abandoned: bool
    why: str

    def __str__(self) -> str:
        of = " ".join(self.labels[key] for key in (LABEL_RUN, LABEL_CELL) if key in self.labels)
        kind = "" if self.kind == "container" else f"{self.kind} "
        return f"{kind}{self.name} ({f'{of}; ' if of else ''}{self.why})"

    def remove_from(self, engine: Engine) -> None:
        """Errors: CellFailure from the engine. What is gone already is fine."""
        if self.kind == "container":
            engine.remove(self.id)
        else:
            engine.remove_image(self.id)


def find(engine: Engine) -> list[Leftover]:
    """Everything of ours on the engine, containers before the images that they use, each by name.

    Errors: CellFailure from the engine (engine/base.py).
    """
    ours = {found.id: found for label in (LABEL_RUN, LABEL_OWNER) for found in engine.list({label: None})}
    containers = [_judge("container", one.id, one.name, one.labels) for one in ours.values()]
    # `docker commit` copies a container's labels to an image that somebody wants to keep: a probe's are ours.
    images = [
        _judge("image", one.id, one.references[0], one.labels)
        for one in engine.list_images({LABEL_RUN: probe.RUN, LABEL_OWNER: None})
        if one.references and all(name.startswith(f"{probe.REPOSITORY}:") for name in one.references)
    ]
    return sorted(containers, key=lambda one: one.name) + sorted(images, key=lambda one: one.name)


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
        elif dry_run:
            say(f"would remove {leftover}")
            removed.append(leftover.name)
        elif _remove(engine, leftover, say):
            removed.append(leftover.name)
        else:
            stuck.append(leftover.name)
    if stuck:
        raise InfrastructureError(
            f"could not remove {len(stuck)} of {len(leftovers)}: {', '.join(stuck)}",
            "The engine's reasons are above; `docker rm -f` or `docker rmi` with the name may tell more.",
        )
    return removed


def sweep(engine: Engine, say: Say) -> None:
    """Remove what is abandoned before a run starts: a line for each, silence where there is nothing.

    Never raises: a run does not end because another one's remains cannot be removed.
    """
    try:
        abandoned = [leftover for leftover in find(engine) if leftover.abandoned]
    except CellFailure as failure:
        say(f"could not look for what ended runs left: {failure.message}")
        return
    for leftover in abandoned:
        _remove(engine, leftover, say)


def _remove(engine: Engine, leftover: Leftover, say: Say) -> bool:
    try:
        leftover.remove_from(engine)
    except CellFailure as failure:
        say(f"could not remove {leftover}: {failure.message}")
        return False
    say(f"removed {leftover}")
    return True


def _judge(kind: str, identity: str, name: str, labels: Mapping[str, str]) -> Leftover:
    deadline = labels.get(LABEL_DEADLINE, "")
    match owner.is_alive(labels.get(LABEL_OWNER, "")):
        case False:
            abandoned, why = True, "the process that started it is gone"
        case True:  # whatever its deadline: a run may have waited long before it made its container
            abandoned, why = False, "its run is alive"
        case _ if owner.is_past(deadline):
            abandoned, why = True, f"its deadline, {deadline}, has passed"
        case _:
            until = f" and its deadline is {deadline}" if deadline else ""
            abandoned, why = False, f"started on another machine{until}"
    return Leftover(kind, identity, name, labels, abandoned, why)
