"""Which logs a page holds itself, and that it holds none from elsewhere."""

from __future__ import annotations

from pathlib import Path

import pytest

from e2e_matrix.report.logs import LARGEST, logs_of
from e2e_matrix.report.view import build
from support import report_samples as samples
from support import script_samples


def put(folder: Path, cell: str, text: str | bytes, attempt: int = 1, name: str = "server.log") -> Path:
    path = folder / "cells" / cell / f"attempt-{attempt}" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def test_a_log_beside_the_report_is_in_it(tmp_path: Path) -> None:
    put(tmp_path, "java-arm64", "one\ntwo\n")
    (log,) = logs_of(build(samples.six_passed()).cells, tmp_path)["cells/java-arm64/attempt-1"]
    assert (log.name, log.size, log.text, log.lines) == ("server.log", 8, "one\ntwo", 2)
    assert log.link == "cells/java-arm64/attempt-1/server.log"


def test_a_log_that_is_not_there_is_a_link_alone(tmp_path: Path) -> None:
    (log,) = logs_of(build(samples.six_passed()).cells, tmp_path)["cells/java-arm64/attempt-1"]
    assert (log.size, log.text) == (None, None)


def test_a_large_log_is_not_in_the_page(tmp_path: Path) -> None:
    put(tmp_path, "java-arm64", "x" * (LARGEST + 1))
    (log,) = logs_of(build(samples.six_passed()).cells, tmp_path)["cells/java-arm64/attempt-1"]
    assert (log.size, log.text) == (LARGEST + 1, None)


def test_where_there_is_not_room_for_all_what_broke_comes_first(tmp_path: Path) -> None:
    view = build(samples.broken())
    for cell in view.cells:
        for attempt in cell.cell.attempts:
            put(tmp_path, cell.cell.id, "0123456789", attempt.number)
    logs = logs_of(view.cells, tmp_path, room=35)
    held = [folder for folder, found in logs.items() if any(log.text for log in found)]
    # Then the flaky one, of it the attempt that counts.
    assert held == [
        "cells/java-amd64/attempt-1",
        "cells/java-arm64/attempt-1",
        "cells/python-amd64/attempt-2",
    ]


def test_a_script_s_output_comes_before_its_server_s_log(tmp_path: Path) -> None:
    view = build(script_samples.with_scripts())
    folder = next(cell.last.folder for cell in view.cells if cell.script and cell.last)
    assert [log.name for log in logs_of(view.cells, tmp_path)[folder]] == ["script.log", "server.log"]


@pytest.mark.parametrize("outside", ["file", "folder"])
def test_a_link_out_of_the_run_s_folder_is_not_followed(tmp_path: Path, outside: str) -> None:
    secret = put(tmp_path / "elsewhere", "java-arm64", "a stranger must not read this")
    run = tmp_path / "run"
    if outside == "file":
        link = put(run, "java-arm64", "")
        link.unlink()
        link.symlink_to(secret)
    else:
        (run / "cells").mkdir(parents=True)
        (run / "cells" / "java-arm64").symlink_to(secret.parents[1])
    (log,) = logs_of(build(samples.six_passed()).cells, run)["cells/java-arm64/attempt-1"]
    assert (log.size, log.text) == (None, None)


def test_a_folder_that_leads_out_of_the_run_s_has_no_logs(tmp_path: Path) -> None:
    (tmp_path / "server.log").write_text("secret")
    results = samples.six_passed()
    attempt = results.cells[0].attempts[0].model_copy(update={"folder": "cells/.."})
    cells = [results.cells[0].model_copy(update={"attempts": [attempt]})]
    assert logs_of(build(samples.run(cells)).cells, tmp_path) == {"cells/..": []}


def test_what_no_page_may_hold_is_not_in_it(tmp_path: Path) -> None:
    put(tmp_path, "java-arm64", b"\x1b[31mred\x1b[0m \x00 \xff \xe2\x80\xae" + b"y" * 100_000 + b"\nend\n")
    (log,) = logs_of(build(samples.six_passed()).cells, tmp_path)["cells/java-arm64/attempt-1"]
    assert log.text is not None
    first, last = log.text.splitlines()
    assert first.startswith("red \ufffd \ufffd yyy")
    assert first.endswith("y" * 100_000)
    assert last == "end"
