"""What e2e-matrix puts into a script's process, and into every Python process that it starts.

Python imports ``sitecustomize`` before the script's first line; PYTHONPATH makes it find this one first. It
changes no file of the script's. All that it does is named in ``_install``.
"""

import os
import sys
from importlib.machinery import PathFinder
from importlib.util import module_from_spec


def _install() -> None:
    from e2e_matrix_inside import agent_server, folders, hooks, managed_server, redirect, trace

    folders.open_to_all(os.environ.get("TMPDIR"), os.environ.get("HOME"))
    hooks.after("socket", redirect.watch)
    hooks.after("http.client", trace.watch_http_client)
    hooks.after("httpx", trace.watch_httpx)
    hooks.replace_helper(managed_server.put_into)
    if module := agent_server.asked_for():
        hooks.run_instead(module, agent_server.__file__)


def _run_next() -> None:
    """The ``sitecustomize`` that would have been found without this one, such as a distribution's."""
    here = os.path.realpath(os.path.dirname(__file__))
    spec = PathFinder.find_spec("sitecustomize", [p for p in sys.path if os.path.realpath(p) != here])
    if spec is not None and spec.loader is not None:
        sys.modules["sitecustomize"] = module = module_from_spec(spec)
        spec.loader.exec_module(module)


if "E2E_MATRIX_LINE" in os.environ:
    _install()
_run_next()
