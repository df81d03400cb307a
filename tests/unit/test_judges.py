"""The code that judges a cell: nothing that takes part in it is left out."""

from __future__ import annotations

import ast
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import e2e_matrix
from e2e_matrix.judges import EXEMPT, SEEN_THROUGH, code_digest, imported, judges, runtime

PACKAGE = Path(e2e_matrix.__file__).parent
# Of others, what judges import and what changes no outcome.
UNSEEN = {
    "yaml": "reads the file of replies, of which every byte is in the key",
}


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A copy that may be changed."""
    place = tmp_path / "e2e_matrix"
    shutil.copytree(PACKAGE, place, ignore=shutil.ignore_patterns("__pycache__", "templates"))
    return place


def digest_of(package: Path) -> str:
    code_digest.cache_clear()
    return code_digest(package)


def test_what_python_loads_for_a_cell_is_found() -> None:
    """Whatever way a module is imported in, Python itself has met it."""
    program = (
        "import sys, json, e2e_matrix.cell, e2e_matrix.execution, e2e_matrix.summary\n"
        "loaded = [m.__file__ for n, m in sys.modules.items() if n.split('.')[0] == 'e2e_matrix']\n"
        "print(json.dumps(loaded))"
    )
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    loaded = {Path(file) for file in json.loads(done.stdout)}
    assert len(loaded) > 50
    assert loaded <= imported()


def test_each_of_what_is_imported_judges_or_is_exempt_for_a_reason() -> None:
    left = {str(file.relative_to(PACKAGE)) for file in imported() - judges()}
    for name in left:
        assert name in EXEMPT or str(Path(name).parent) in EXEMPT
    for name in EXEMPT:
        assert name in left or any(one.startswith(f"{name}/") for one in left), f"{name} is not imported"
    assert all(EXEMPT.values())


@pytest.mark.parametrize(
    "name",
    [
        *(
            "cell.py",
            "execution.py",
            "summary.py",
            "task.py",
            "templates.py",
            "results.py",
            "cancellation.py",
        ),
        *("text.py", "store.py", "errors.py", "failures.py", "limits.py", "agent_server.py", "redaction.py"),
        *("engine/docker.py", "engine/docker_errors.py", "llm/standin.py", "llm/replies_file.py"),
        *("scenarios/deferred_init.py", "scenarios/__init__.py", "script/process.py", "local/recipe.py"),
        *("script/inside/sitecustomize.py", "script/inside/e2e_matrix_inside/hooks.py"),
    ],
)
def test_a_change_of_what_judges_changes_the_digest(name: str, package: Path) -> None:
    before = digest_of(package)
    file = package / name
    file.write_bytes(file.read_bytes() + b"\n")
    assert digest_of(package) != before


@pytest.mark.parametrize("name", ["report/html.py", "cli/run.py", "history/database.py", "publish/body.py"])
def test_a_change_of_anything_else_does_not(name: str, package: Path) -> None:
    before = digest_of(package)
    file = package / name
    file.write_bytes(file.read_bytes() + b"\n")
    assert digest_of(package) == before


def test_a_module_that_one_of_them_begins_to_import_is_one(package: Path) -> None:
    new = package / "scenarios" / "new.py"
    new.write_text("")
    before = digest_of(package)
    scenario = package / "scenarios" / "boot.py"
    scenario.write_text(f"{scenario.read_text()}\ndef late() -> None:\n    import e2e_matrix.scenarios.new\n")
    assert new in judges(package)
    with_it = digest_of(package)
    new.write_text("pass\n")
    assert len({before, with_it, digest_of(package)}) == 3


def test_every_package_that_judges_import_is_in_the_key_or_changes_no_outcome() -> None:
    seen = {name for file in judges() for name in _packages_in(file)}
    ours = {"e2e_matrix", "e2e_matrix_inside", "openhands"}
    assert seen - sys.stdlib_module_names - ours <= {*SEEN_THROUGH, *UNSEEN}
    assert runtime().keys() == {"python", *SEEN_THROUGH}
    assert runtime()["python"] == "{}.{}".format(*sys.version_info)


def _packages_in(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_bytes())):
        if isinstance(node, ast.Import):
            yield from (name.name.split(".")[0] for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module.split(".")[0]
