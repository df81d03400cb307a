"""Where every setting comes from, and what it takes the place of: ``plan --explain``.

What a file says with a variable is shown as it is written there: ``${NAME}``, and not what that holds, which
may be a secret.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from e2e_matrix.matrix import Matrix
from e2e_matrix.matrix_yaml import Said, Tree
from e2e_matrix.redaction import plain_urls, without_password
from e2e_matrix.results import SettingValue
from e2e_matrix.settings import Settings, Source
from e2e_matrix.text import one_line

_HIDDEN = "(not shown)"  # it may be a secret
_LONGEST = 60


@dataclass(frozen=True)
class Word:
    """What somebody said of a setting. ``at``: the option, variable, or file and line; "": nowhere."""

    value: Any
    source: str
    at: str = ""

    def __str__(self) -> str:
        match self.source:
            case Source.FILE:
                return self.at
            case Source.ENVIRONMENT:
                return f"variable {self.at}"
            case Source.COMMAND_LINE:
                return f"option {self.at}"
        return f"{self.source}, {self.at}" if self.at else self.source


@dataclass(frozen=True)
class Explained:
    """A setting by its name in the file: the word that counts, and those that it was said over."""

    setting: str
    word: Word
    over: tuple[Word, ...]

    def as_data(self) -> dict[str, Any]:
        """For JSON."""
        return {"setting": self.setting, **vars(self.word), "over": [vars(word) for word in self.over]}

    def rows(self) -> Iterator[list[str]]:
        """For a table of three columns, safe to print."""
        yield [one_line(self.setting, _LONGEST), _shown(self.word.value), one_line(str(self.word))]
        for word in self.over:
            yield ["", "", "  " + one_line(f"over {word}: {_shown(word.value)}")]


def explain(matrix: Matrix, settings: Settings, hidden: Mapping[str, tuple[str, str]]) -> Iterator[Explained]:
    """Every setting and axis. ``hidden``: by setting, a variable that an option overrides, with its text."""
    settings = _in_written_folder(matrix, settings)
    for name, setting in settings.sources().items():
        if name == "scenarios":
            yield from _axes(matrix)
        origin = settings.origins[name]
        for part, value in _parts(name, setting.value):
            where = (*name.split("."), *part)
            words = list(_written(matrix, where))
            if name in hidden:
                variable, text = hidden[name]
                words.insert(0, Word(plain_urls(text), Source.ENVIRONMENT, variable))
            if origin.place:
                words.insert(0, Word(value, origin.source, origin.place))
            else:
                value = _without_variables(matrix, where, value)
            yield _explained(".".join((name, *part)), value, words)


def sources(matrix: Matrix, settings: Settings) -> dict[str, SettingValue]:
    """``Settings.sources`` with each value that counts as ``explain`` shows it."""
    settings = _in_written_folder(matrix, settings)
    return {
        name: setting
        if settings.origins[name].place
        else setting.model_copy(update={"value": _each_without_variables(matrix, name, setting.value)})
        for name, setting in settings.sources().items()
    }


def _in_written_folder(matrix: Matrix, settings: Settings) -> Settings:
    """With the reports' folder as it is written where a variable is in it: the history lies there, too."""
    if settings.origins["reports.folder"].place:
        return settings
    folder = _without_variables(matrix, ("reports", "folder"), str(settings.reports))
    return replace(settings, reports=Path(folder))


def _each_without_variables(matrix: Matrix, name: str, value: Any) -> Any:
    where = tuple(name.split("."))
    if name in ("environment", "scenarios"):
        return value  # names
    if isinstance(value, dict):
        return {key: _without_variables(matrix, (*where, key), item) for key, item in value.items()}
    return _without_variables(matrix, where, value)


def _without_variables(matrix: Matrix, where: tuple[str, ...], value: Any) -> Any:
    """``value``, or what the file says there, as it is written, where a variable is in it."""
    said = next(iter(matrix.said(*where)), None)
    return _as_written(where, said.tree) if said and _has_variable(said.tree) else value


def _has_variable(tree: Tree) -> bool:
    if isinstance(tree, dict):
        return any(map(_has_variable, tree.values()))
    if isinstance(tree, list):
        return any(map(_has_variable, tree))
    return tree is not None and tree.written != tree.text


def _axes(matrix: Matrix) -> Iterator[Explained]:
    cells = matrix.matrix
    values: dict[str, Any] = {**cells.axes, "include": cells.include, "exclude": cells.exclude}
    for key, value in values.items():
        words = list(_written(matrix, ("matrix", key)))
        if words:
            where = ("matrix", key)
            yield _explained(f"matrix.{key}", _without_variables(matrix, where, value), words)


def _parts(name: str, value: Any) -> Iterator[tuple[tuple[str, ...], Any]]:
    """A setting by the parts that a profile may replace alone."""
    if name == "environment" and value:
        yield from (((variable,), _HIDDEN) for variable in value)
    elif isinstance(value, dict) and value:
        yield from (((key,), item) for key, item in value.items())
    else:
        yield (), value


def in_parts(matrix: Matrix, settings: Mapping[str, SettingValue]) -> dict[str, SettingValue]:
    """The settings, those that may be set in part by the parts that somebody set: ``regression.boot``."""
    told: dict[str, SettingValue] = {}
    for name, setting in settings.items():
        if not isinstance(setting.value, dict):
            told[name] = setting
            continue
        for key, value in setting.value.items():
            if said := matrix.said(*name.split("."), key):
                told[f"{name}.{key}"] = SettingValue(value=value, source=_source_of(said[0]))
    return told


def _explained(setting: str, value: Any, words: Sequence[Word]) -> Explained:
    """``value`` is what the first word comes to."""
    if not words:
        return Explained(setting, Word(value, Source.DEFAULT), ())
    return Explained(setting, replace(words[0], value=value), tuple(words[1:]))


def _source_of(said: Said) -> str:
    return f"{Source.PROFILE} {said.profile}" if said.profile else Source.FILE


def _written(matrix: Matrix, where: tuple[str, ...]) -> Iterator[Word]:
    for said in matrix.said(*where):
        yield Word(_as_written(where, said.tree), _source_of(said), f"{matrix.file}:{said.line}")


def _as_written(where: tuple[str, ...], tree: Tree) -> Any:
    """What a file says, without what could be a secret: see ``Settings.sources``."""
    match where:
        case ("environment", *_):
            return _HIDDEN
        case ("scenarios",) if isinstance(tree, dict):
            return list(tree)
        case ("llm", "base-url") if tree is not None:
            return plain_urls(without_password(str(tree)))
    return _plain(tree)


def _plain(tree: Tree) -> Any:
    if isinstance(tree, dict):
        return {key: _plain(item) for key, item in tree.items()}
    if isinstance(tree, list):
        return [_plain(item) for item in tree]
    return None if tree is None else tree.written


def _shown(value: Any) -> str:
    return one_line(_as_text(value), _LONGEST)


def _as_text(value: Any) -> str:
    if isinstance(value, dict) and value:
        return f"({', '.join(f'{key}: {_as_text(item)}' for key, item in value.items())})"
    if isinstance(value, dict | list):
        return ", ".join(map(_as_text, value)) or "none"
    return value if isinstance(value, str) else json.dumps(value)
