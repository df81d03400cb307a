"""Changes to modules that the script imports, made when it does and not before."""

import sys
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_file_location
from types import ModuleType
from typing import Any

_HELPER_PACKAGE, _HELPER = "scripts", "scripts.utils"

_Change = Callable[[ModuleType], None]


def after(name: str, change: _Change) -> None:
    """``change`` the module as soon as it is loaded; at once if something imported it already."""
    if name in sys.modules:
        change(sys.modules[name])
    else:
        _finder.changes[name] = change


def replace_helper(change: _Change) -> None:
    """``change`` whatever is imported as ``scripts.utils``, and an empty module where it cannot be."""
    _finder.helper = change


def run_instead(module: str, file: str) -> None:
    """This process was started to run ``module`` (``python -m``): installed or not, it runs ``file``."""
    _finder.instead = (module, file)


class _Finder:
    """First on ``sys.meta_path``, so that the order of ``sys.path`` decides nothing."""

    def __init__(self) -> None:
        self.changes: dict[str, _Change] = {}
        self.helper: _Change | None = None
        self.instead = ("", "")

    def find_spec(self, name: str, path: Any = None, target: ModuleType | None = None) -> ModuleSpec | None:
        module, file = self.instead
        if name == module:
            return spec_from_file_location(name, file)
        if module.startswith(f"{name}."):
            return _empty_package(name)
        if name in self.changes:
            spec = self._others(name, path, target)
            return spec and _changed(spec, _Loader(spec.loader, self.changes[name]))
        if self.helper and name == _HELPER_PACKAGE:
            return self._others(name, path, target) or _empty_package(name)
        if self.helper and name == _HELPER:
            spec = self._others(name, path, target) or ModuleSpec(name, None)
            return _changed(spec, _HelperLoader(spec.loader, self.helper))
        return None

    def _others(self, name: str, path: Any, target: ModuleType | None) -> ModuleSpec | None:
        """What would be found without this."""
        for finder in sys.meta_path:
            if finder is not self and (spec := finder.find_spec(name, path, target)):
                return spec
        return None


def _empty_package(name: str) -> ModuleSpec:
    return ModuleSpec(name, None, is_package=True)


def _changed(spec: ModuleSpec, loader: "_Loader") -> ModuleSpec:
    spec.loader = loader  # type: ignore[assignment]  # importlib.abc is too slow to import for its base class
    return spec


class _Loader:
    """Loads a module as its own loader does, and then changes it."""

    def __init__(self, own: Any, change: _Change) -> None:
        self._own = own
        self._change = change

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._own.create_module(spec) if self._own else None

    def exec_module(self, module: ModuleType) -> None:
        if self._own:
            # What asks the module for its loader is to find the one that knows its source.
            module.__loader__ = self._own
            if module.__spec__:
                module.__spec__.loader = self._own
            self._own.exec_module(module)
        self._change(module)


class _HelperLoader(_Loader):
    """A checkout's helpers may need what is not installed here; the one that counts needs nothing."""

    def exec_module(self, module: ModuleType) -> None:
        try:
            super().exec_module(module)
        except Exception as error:  # noqa: BLE001  # a module of the script's may raise anything
            print(f"e2e-matrix: {module.__name__} could not be loaded: {error!r}", file=sys.stderr)
            self._change(module)


_finder = _Finder()
sys.meta_path.insert(0, _finder)
