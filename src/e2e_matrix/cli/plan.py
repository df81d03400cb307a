"""``e2e-matrix plan``: the cells that a run would have, without asking a container engine."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import click

from e2e_matrix.cli.options import hidden_variables, load_all, matrix_options
from e2e_matrix.explain import Explained, explain, in_parts, sources
from e2e_matrix.plan import Plan
from e2e_matrix.results import SettingValue
from e2e_matrix.settings import Source
from e2e_matrix.text import one_line


@click.command(name="plan")
@matrix_options
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True)
@click.option(
    "--explain",
    "is_explained",
    is_flag=True,
    help="Every setting, where it comes from, and what it takes the place of.",
)
@click.pass_context
def command(ctx: click.Context, /, form: str, is_explained: bool, **_options: Any) -> None:
    """Show the cells that a run would have; nothing is started or downloaded."""
    matrix, settings, plan = load_all(ctx)
    explained = list(explain(matrix, settings, hidden_variables(ctx))) if is_explained else None
    shown = sources(matrix, settings)
    if form == "json":
        click.echo(
            json.dumps(_as_json(shown, plan, explained, settings.matrix_file), indent=2, ensure_ascii=False)
        )
    else:
        click.echo("\n".join(_as_text(in_parts(matrix, shown), plan, explained, settings.matrix_file)))


def _as_json(
    settings: Mapping[str, SettingValue], plan: Plan, explained: Sequence[Explained] | None, file: str
) -> dict[str, Any]:
    return {
        **({} if explained is None else {"explained": [one.as_data() for one in explained]}),
        "matrix_file": file,
        "axes": plan.axes,
        "settings": {name: value.model_dump(mode="json") for name, value in settings.items()},
        # Not what the containers' variables hold: it may come from a secret.
        "cells": [
            {
                "id": cell.id,
                "axes": cell.axes,
                "platform": cell.platform,
                "image": cell.image,
                "arch_image": cell.arch_image,
                "scenario": cell.scenario,
                "script": cell.script,
                "model": cell.model,
            }
            for cell in plan.cells
        ],
    }


def _as_text(
    settings: Mapping[str, SettingValue], plan: Plan, explained: Sequence[Explained] | None, file: str
) -> Iterator[str]:
    columns = ["cell", "platform", "image"]
    rows = [[cell.id, cell.platform, cell.image] for cell in plan.cells]
    if len({cell.model for cell in plan.cells}) > 1:
        columns.append("model")
        rows = [[*row, one_line(cell.model or "")] for row, cell in zip(rows, plan.cells, strict=True)]
    if any(cell.script for cell in plan.cells):
        columns.append("script")
        rows = [[*row, one_line(cell.script or "")] for row, cell in zip(rows, plan.cells, strict=True)]
    yield from _table([columns, *rows])
    yield ""
    yield f"{len(plan.cells)} cell{'s' if len(plan.cells) != 1 else ''} from {file}"
    if explained is not None:
        yield ""
        yield from _table([["setting", "value", "from"], *(row for one in explained for row in one.rows())])
    elif chosen := [
        [name, _shown(setting.value), setting.source]
        for name, setting in settings.items()
        if setting.source != Source.DEFAULT
    ]:
        yield ""
        yield from _table([["setting", "value", "source"], *chosen])


def _shown(value: Any) -> str:
    return one_line(", ".join(map(str, value))) if isinstance(value, list) else json.dumps(value).strip('"')


def _table(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
