"""Several processes at one history, and one that is killed."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from e2e_matrix.history.database import History
from e2e_matrix.history.writing import run_folders
from support.history_runs import cell, put

WRITERS, EACH = 3, 12

_ADD = """
import sys
from pathlib import Path
from e2e_matrix.history.database import History
sys.stdin.readline()
for folder in sys.argv[2:]:
    with History.open(Path(sys.argv[1])) as history:
        assert history.add(Path(folder))
"""
_READ = """
import sys
from collections import Counter
from pathlib import Path
from e2e_matrix.history.database import History
sys.stdin.readline()
seen = 0
while seen < int(sys.argv[2]):
    with History.open(Path(sys.argv[1])) as history:
        cells = Counter(point.run for point in history.points())
    assert set(cells.values()) <= {2}, cells  # never half a run
    assert len(cells) >= seen, (cells, seen)
    seen = len(cells)
print(seen)
"""


def _started(code: str, *arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def test_several_processes_write_and_read_at_once(tmp_path: Path) -> None:
    """They all begin with no file at all, and so one of them makes it."""
    file = tmp_path / "history.sqlite"
    folders = [put(tmp_path, number, cell(), cell(name="java-arm64")) for number in range(WRITERS * EACH)]
    processes = [_started(_ADD, file, *folders[number::WRITERS]) for number in range(WRITERS)]
    processes.append(_started(_READ, file, len(folders)))
    for process in processes:  # they wait for this line: so they run at once
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    outputs = [process.communicate()[0] for process in processes]
    assert [process.returncode for process in processes] == [0] * len(processes)
    assert outputs[-1] == f"{len(folders)}\n"
    assert [path.name for path in tmp_path.iterdir() if "damaged" in path.name] == []


def test_several_threads_write_the_same_runs_at_once(tmp_path: Path) -> None:
    folders = [put(tmp_path, number) for number in range(6)]
    together, new = threading.Barrier(4), list[int]()

    def add(order: Sequence[Path]) -> None:
        together.wait()
        with History.open(tmp_path / "history.sqlite") as history:
            new.append(sum(history.add(folder) for folder in order))

    threads = [threading.Thread(target=add, args=[folders[turn:] + folders[:turn]]) for turn in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(new) == len(folders)  # each was new to one of them


_IMPORT = """
import sys
from pathlib import Path
from e2e_matrix.history import writing
from e2e_matrix.history.database import History

put, count = writing._put, 0

def hang(connection, reading):
    global count
    count += 1
    if count == 8:  # in the middle of the second batch
        print("in the middle", flush=True)
        sys.stdin.read()
    return put(connection, reading)

writing._BATCH, writing._put = 5, hang
with History.open(Path(sys.argv[1])) as history:
    history.import_runs(writing.run_folders(Path(sys.argv[2])))
"""


def test_an_import_that_is_killed_keeps_whole_batches_and_goes_on(tmp_path: Path) -> None:
    file = tmp_path / "history.sqlite"
    for number in range(12):
        put(tmp_path, number, cell(), cell(name="java-arm64"))
    process = _started(_IMPORT, file, tmp_path)
    assert process.stdout is not None
    assert process.stdout.readline() == "in the middle\n"
    process.send_signal(signal.SIGKILL)
    process.communicate()
    said: list[str] = []
    with History.open(file, said.append) as history:
        assert len(history.points()) == 5 * 2
        done = history.import_runs(run_folders(tmp_path))
        assert (done.new, done.unchanged) == (7, 5)
        assert len(history.points()) == 12 * 2
    assert said == []
    with closing(sqlite3.connect(file)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
