"""Compiling Python ahead of time: the first boot is otherwise spent on it, above all an emulated one.

Bytecode is for one version of Python and for every architecture, so the images' own Python compiles, in the
build that fits this machine. Its dynamic loader runs it out of the folder that it was unpacked into, which
needs no root and no container. The invalidation mode is "unchecked-hash" (PEP 552): deterministic, and no
source file is looked at when the server starts.
"""

from __future__ import annotations

import platform
import tarfile
from collections.abc import Iterator
from pathlib import Path

from e2e_matrix.errors import InfrastructureError
from e2e_matrix.local.process import run
from e2e_matrix.local.recipe import ARCHITECTURES, Recipe

_COMPILE_SECONDS = 900.0
_COMPILE = """
import compileall, py_compile, sys
sys.pycache_prefix = None  # where the results go
compileall.compile_dir(
    sys.argv[1], maxlevels=99, stripdir=sys.argv[1], prependdir=sys.argv[2], quiet=2,
    invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
)
"""
_MACHINES = {"x86_64": "amd64", "aarch64": "arm64", "arm64": "arm64"}


def host_arch() -> str:
    """This machine's architecture as Debian names it. Raises ``InfrastructureError`` for any other."""
    try:
        return _MACHINES[platform.machine()]
    except KeyError:
        raise InfrastructureError(
            f"local images cannot be built on {platform.machine()}", "Build them on x86_64 or aarch64."
        ) from None


class Interpreter:
    """The images' Python, runnable on this machine from the folder ``root`` of unpacked packages."""

    def __init__(self, root: Path, recipe: Recipe) -> None:
        libraries = root / "usr/lib" / ARCHITECTURES[host_arch()][1]
        loader = next(libraries.glob("ld-linux-*.so.*"), None)
        if loader is None:
            raise InfrastructureError(
                f"there is no dynamic loader in {libraries}",
                "images/images.toml names the packages; python3 must be among Debian's.",
            )
        python = root / "usr/bin" / f"python{recipe.debian.python}"
        self._home = root / "usr"
        self._command = [str(loader), "--library-path", str(libraries), str(python)]

    def compile(self, folder: Path, image_path: str) -> None:
        """Write the bytecode of every .py under ``folder``, which lies at ``image_path`` in the image.

        What is no Python 3 is passed over: packages ship templates and sources of Python 2.
        """
        run(
            [*self._command, "-S", "-W", "ignore", "-c", _COMPILE, str(folder), f"/{image_path}"],
            what=f"compiling the Python files of /{image_path}",
            fix="Remove the cache that `e2e-matrix images list` names, and build again.",
            timeout=_COMPILE_SECONDS,
            # What an interpreter interned before changes the bytes that it writes, and a module read from
            # bytecode interns less: it must not find the bytecode that another compilation made of its own.
            environment={
                "PYTHONHOME": str(self._home),
                "PYTHONDONTWRITEBYTECODE": "1",
                "PYTHONPYCACHEPREFIX": f"{self._home}/none",
            },
        )


def unpack_interpreter(layer: Path, recipe: Recipe, target: Path) -> Interpreter:
    """The Interpreter inside a base layer's file, unpacked into ``target``."""
    with tarfile.open(layer, "r:gz") as tar:
        tar.extractall(target, _interpreter_members(tar, recipe), filter="tar")
    return Interpreter(target, recipe)


def _interpreter_members(tar: tarfile.TarFile, recipe: Recipe) -> Iterator[tarfile.TarInfo]:
    python = f"python{recipe.debian.python}"
    folders = (f"usr/lib/{python}/", f"usr/lib/{ARCHITECTURES[host_arch()][1]}/")
    return (member for member in tar if member.name == f"usr/bin/{python}" or member.name.startswith(folders))
