"""Environments of scripts: made once, never used half-made, one clear failure where they cannot be made."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import Queue
from threading import Thread

import pytest
import uv

from e2e_matrix.cancellation import Cancellation
from e2e_matrix.errors import CellFailure
from e2e_matrix.failures import Cause
from e2e_matrix.script import sdk
from e2e_matrix.script.settings import is_release
from e2e_matrix.script.shared import locked
from e2e_matrix.script.workspace import Workspace
from support.fake_uv import FakeUv

VERSION = "1.2.3"


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeUv:
    folder = tmp_path / "uv"
    folder.mkdir()
    fake = FakeUv(folder)
    monkeypatch.setattr(uv, "find_uv_bin", lambda: str(fake.program))
    return fake


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def prepared(cache: Path, what: str | Path = VERSION) -> sdk.Interpreter:
    return sdk.prepare(what, Cancellation(), cache=cache)


def failure(cache: Path, what: str | Path = VERSION) -> CellFailure:
    with pytest.raises(CellFailure) as caught:
        prepared(cache, what)
    return caught.value


def elsewhere(fake: FakeUv, cache: Path) -> subprocess.Popen[str]:
    """The same in another process."""
    command = [sys.executable, "-m", "support.fake_uv", str(fake.folder), str(cache), VERSION]
    tests = Path(__file__).parents[1]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([*sys.path, str(tests)])}
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)


def test_threads_and_processes_that_come_at_once_get_the_same_one_made_once(
    fake: FakeUv, cache: Path
) -> None:
    with elsewhere(fake, cache) as one, elsewhere(fake, cache) as other, ThreadPoolExecutor(4) as threads:
        mine = set(threads.map(lambda _: prepared(cache).python, range(8)))
        theirs = {Path((process.stdout or sys.stdin).read().strip()) for process in (one, other)}
    assert mine == theirs == {prepared(cache).python}
    assert fake.calls("pip install") == 1


def test_what_a_killed_runner_left_is_waited_for_and_made_anew(fake: FakeUv, cache: Path) -> None:
    started, ended = fake.folder / "started", fake.folder / "ended"
    for fifo in (started, ended):
        os.mkfifo(fifo)
    # Its uv goes on after it was killed, as a real one does.
    fake.hook("pip install", "rm pip-install; echo > started; cat ended")
    with elsewhere(fake, cache) as killed:
        started.read_text()
        killed.send_signal(signal.SIGKILL)
    [folder] = (path for path in (cache / "script" / "environments").iterdir() if path.is_dir())
    (folder / "half").touch()

    stopped = Cancellation()
    with pytest.raises(CellFailure) as caught:  # the wait for it ends when asked to
        sdk.prepare(VERSION, stopped, lambda line: stopped.cancel(Cause.FAIL_FAST), cache)
    assert caught.value.cause is Cause.FAIL_FAST

    waiting: Queue[str] = Queue()
    with ThreadPoolExecutor(1) as thread:
        asked = thread.submit(sdk.prepare, VERSION, Cancellation(), waiting.put, cache)
        assert "waiting" in waiting.get(timeout=10)
        ended.write_text("")
        assert asked.result(timeout=10).python == folder / "bin" / "python"
    assert not (folder / "half").exists()
    assert fake.calls("pip install") == 2


@pytest.mark.parametrize("version", ["1.58.0rc1", "1.58.0.post1", "1.59.0.dev20261101"])
def test_every_version_that_a_matrix_may_name_is_asked_for(fake: FakeUv, cache: Path, version: str) -> None:
    assert is_release(version)
    assert prepared(cache, version).python.parents[1].name.startswith(version)


def test_being_asked_to_stop_ends_uv_and_leaves_nothing(fake: FakeUv, cache: Path) -> None:
    started = fake.folder / "started"
    os.mkfifo(started)
    fake.hook("pip install", "sleep 20 & echo $$ > started; wait")
    cancel = Cancellation()
    pids: list[int] = []

    def stop() -> None:
        pids.append(int(started.read_text()))
        cancel.cancel(Cause.RUN_TIMEOUT)

    stopper = Thread(target=stop)
    stopper.start()
    with pytest.raises(CellFailure) as caught:
        sdk.prepare(VERSION, cancel, cache=cache)
    stopper.join()
    assert caught.value.cause is Cause.RUN_TIMEOUT
    with pytest.raises(ProcessLookupError):
        os.kill(pids[0], 0)
    assert not any(path.is_dir() for path in (cache / "script" / "environments").iterdir())


@pytest.mark.parametrize("lost", ["bin/python", "lib", "ready.json"])
def test_a_broken_one_is_made_again_with_the_same_packages(fake: FakeUv, cache: Path, lost: str) -> None:
    python = prepared(cache).python
    path = python.parents[1] / lost
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert prepared(cache).python == python
    assert os.access(python, os.X_OK)
    assert (fake.calls("pip compile"), fake.calls("pip install")) == (1, 2)


ABSENT = "error: No solution found\n  cause: Because there is no version of {}==1.2.3 and you require it, no."


@pytest.mark.parametrize(
    ("command", "words", "cause", "said"),
    [
        (
            "pip compile",
            ABSENT.format("openhands-sdk"),
            Cause.SCRIPT_ENVIRONMENT,
            "there is no openhands-sdk 1.2.3",
        ),
        (
            "pip compile",
            "error: Request failed\n  cause: Failed to fetch: the index\n  cause: client\n  cause: dns",
            Cause.SCRIPT_ENVIRONMENT,
            "uv says: Request failed; Failed to fetch: the index; dns",
        ),
        (
            "pip install",
            "error: Failed to install: a\n  cause: failed to copy: No space left on device (os error 28)",
            Cause.DISK_FULL,
            "no space is left; free about 1 GB",
        ),
    ],
    ids=["no such version", "no network", "disk full"],
)
def test_what_goes_wrong_is_one_failure_that_says_what(
    fake: FakeUv, cache: Path, command: str, words: str, cause: Cause, said: str
) -> None:
    fake.fail(command, words)
    failed = failure(cache)
    assert failed.cause is cause
    assert failed.message.startswith("openhands-sdk 1.2.3 could not be installed: ")
    assert said in failed.message
    assert len(failed.message) < 500
    assert not any(path.is_dir() for path in (cache / "script" / "environments").iterdir())


def test_those_who_waited_share_the_failure_and_who_comes_later_tries_again(
    fake: FakeUv, cache: Path
) -> None:
    go = fake.folder / "go"
    os.mkfifo(go)
    fake.hook("pip compile", "test -e gone || { touch gone; cat go; }; echo no network >&2; exit 2")
    said: Queue[str] = Queue()

    def ask(_: int) -> str:
        with pytest.raises(CellFailure) as caught:
            sdk.prepare(VERSION, Cancellation(), said.put, cache)
        return caught.value.message

    with ThreadPoolExecutor(3) as threads:
        asked = threads.map(ask, range(3))
        waiting = 0
        while waiting < 2:
            waiting += "waiting" in said.get(timeout=10)
        go.write_text("")
        assert len(set(asked)) == 1
    assert fake.calls("pip compile") == 1
    (fake.folder / "pip-compile").unlink()
    assert prepared(cache).sdk_version == VERSION


def test_a_version_without_a_release_of_the_workspace_package_goes_without(fake: FakeUv, cache: Path) -> None:
    absent = ABSENT.format("openhands-workspace")
    fake.hook("pip compile", f'grep -q workspace "$last" && {{ echo "{absent}" >&2; exit 1; }}')
    python = prepared(cache).python
    assert (
        python.parents[1] / "requirements.in"
    ).read_text() == "openhands-sdk==1.2.3\nopenhands-tools==1.2.3\n"


def test_without_a_python_it_says_which_one_is_wanted(fake: FakeUv, cache: Path) -> None:
    fake.fail("python find", "error: No interpreter found")
    fake.fail("venv", "error: No interpreter found for Python 3.13; downloads are disabled")
    assert "install Python 3.13. uv says: No interpreter found" in failure(cache).message


@pytest.mark.parametrize("text", ["", "v1.58.0", "1.58.0 --index x", "../../etc"])
def test_what_is_no_version_never_becomes_a_path_or_an_argument(cache: Path, text: str) -> None:
    assert "is no version" in failure(cache, text).message
    assert not cache.exists()


def test_known_bad_dependencies_are_kept_out_and_locked_ones_are_kept_to(fake: FakeUv, cache: Path) -> None:
    old, locked_one = (
        (prepared(cache, version).python.parents[1] / "constraints.txt").read_text()
        for version in ("1.43.1", "1.58.0")
    )
    assert "openhands-agent-server==1.43.1\nfastapi<=" in old
    assert "\npydantic==" in locked_one
    assert "fastapi<=" not in locked_one


def test_the_wait_for_another_is_bounded(tmp_path: Path) -> None:
    def nothing(line: str) -> None: ...

    lock = tmp_path / "lock"
    with (
        locked(lock, "it", Cancellation(), nothing),
        pytest.raises(CellFailure, match="has been making it for"),
        locked(lock, "it", Cancellation(), nothing, longest=0.05),
    ):
        pytest.fail("two hold it")


def member(root: Path, name: str) -> None:
    package = root / name
    package.mkdir(parents=True)
    (package / "pyproject.toml").write_text(f'[project]\nname = "{name}"\nversion = "1.2.3"\n')
    (package / "code.py").write_text("x = 1\n")


def test_a_checkout_is_known_by_the_content_of_its_packages_alone(tmp_path: Path) -> None:
    member(tmp_path, "openhands-sdk")
    member(tmp_path, "openhands-tools")
    workspace = "[tool.uv.workspace]\nmembers = ['openhands-*']\nexclude = ['openhands-tools']\n"
    (tmp_path / "pyproject.toml").write_text(workspace)
    before = Workspace.read(tmp_path).digest()
    for left in (
        "openhands-sdk/openhands.egg-info",
        "openhands-sdk/build",
        "openhands-sdk/a/__pycache__",
        "tests",
    ):
        (tmp_path / left).mkdir(parents=True)
        (tmp_path / left / "x").touch()
    (tmp_path / "openhands-tools" / "code.py").write_text("x = 2\n")
    assert Workspace.read(tmp_path).digest() == before
    assert list(Workspace.read(tmp_path).packages) == ["openhands-sdk"]

    digests = {before}
    (tmp_path / "openhands-sdk" / "code.py").write_text("x = 2\n")
    digests.add(Workspace.read(tmp_path).digest())
    (tmp_path / "openhands-sdk" / "code.py").chmod(0o755)
    digests.add(Workspace.read(tmp_path).digest())
    (tmp_path / "openhands-sdk" / "build" / "build").mkdir()
    (tmp_path / "openhands-sdk" / "a" / "build").mkdir()
    (tmp_path / "openhands-sdk" / "a" / "build" / "x").touch()
    digests.add(Workspace.read(tmp_path).digest())
    assert len(digests) == 4


def test_a_checkout_without_the_sdk_or_with_a_broken_file_says_so(tmp_path: Path, cache: Path) -> None:
    assert "has no package openhands-sdk for `sdk: checkout`" in failure(cache, tmp_path).message
    (tmp_path / "pyproject.toml").write_text("[tool")
    assert f"{tmp_path}/pyproject.toml cannot be used" in failure(cache, tmp_path).message
