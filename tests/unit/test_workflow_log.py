"""Nothing that is printed in a GitHub workflow is a command, but for what we say it is."""

from __future__ import annotations

import io
import logging
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

import click
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from e2e_matrix.terminal import make_progress
from e2e_matrix.workflow_log import without_commands, write_command
from support.actions_runner import Command, commands_in, lines_of
from support.hostile_text import TEXTS, saying
from support.sample_run import tell

WORKFLOW = {"GITHUB_ACTIONS": "true"}
COMMANDS = [
    "::error::x",
    "  \t::set-output name=verdict::passed",
    "\u2003\u00a0::error::x",
    "text before ##[set-output name=verdict]passed",
    "####[error]x",
]


@contextmanager
def in_workflow(stream: io.StringIO) -> Iterator[None]:
    """Both streams are ``stream``, as with ``2>&1``, and may hold no commands."""
    before = sys.stdout, sys.stderr
    sys.stdout = sys.stderr = stream
    try:
        with without_commands(WORKFLOW):
            yield
    finally:
        sys.stdout, sys.stderr = before


def printed(*pieces: str) -> str:
    """What reaches the runner of texts that are written one after the other."""
    stream = io.StringIO()
    with in_workflow(stream):
        for piece in pieces:
            sys.stdout.write(piece)
    return stream.getvalue()


@pytest.mark.parametrize("line", COMMANDS)
def test_a_line_that_is_a_command_becomes_one_that_is_none(line: str) -> None:
    assert commands_in(line)
    shown = printed(line + "\n")
    assert commands_in(shown) == []
    assert shown.replace(" ", "") == f"{line}\n".replace(" ", "")


def test_other_lines_stay_as_they_are() -> None:
    lines = "std::vector, a: :b, # [x] ## y\n\n  indented\n"
    assert printed(lines) == lines


@given(st.lists(TEXTS | st.sampled_from(COMMANDS), max_size=8), st.data())
@settings(max_examples=200, deadline=None)
def test_however_it_is_cut_no_text_is_a_command_and_none_is_lost(
    texts: list[str], data: st.DataObject
) -> None:
    whole = "\n".join(texts)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=8)))
    shown = printed(*(whole[start:end] for start, end in zip([0, *cuts], [*cuts, len(whole)], strict=True)))
    assert commands_in(shown) == []
    assert shown.replace(" ", "").rstrip("\n") == whole.replace(" ", "").rstrip("\n")


@given(TEXTS)
@settings(max_examples=50, deadline=None)
def test_whatever_a_server_says_the_terminal_s_lines_are_no_commands(text: str) -> None:
    results, stream = saying(text), io.StringIO()
    with in_workflow(stream):
        progress = make_progress(sys.stdout, quiet=False, environ=WORKFLOW, isatty=False)
        tell(progress, results)
        progress.note(text)
        progress.run_finished(results, text[:50])
        progress.close()
    assert "FAILED: " in stream.getvalue()
    assert commands_in(stream.getvalue()) == []


def test_what_is_ours_goes_past_it_on_a_line_of_its_own() -> None:
    stream = io.StringIO()
    with in_workflow(stream):
        print("without an end", end="")
        write_command(sys.stdout, "::error title=t::ours")
        print("::error::theirs")
    assert stream.getvalue() == "without an end\n::error title=t::ours\n: :error::theirs\n"
    assert commands_in(stream.getvalue()) == [Command("error", {"title": "t"}, "ours")]


def test_it_reaches_what_click_a_log_and_a_traceback_print(capfd: pytest.CaptureFixture[str]) -> None:
    with without_commands(WORKFLOW):
        click.echo("::error::x")
        print("no end", end="")
        click.echo("::error::x", err=True)
        logging.StreamHandler().emit(logging.makeLogRecord({"msg": "said\n::error::x"}))
        sys.excepthook(RuntimeError, RuntimeError("said\n::error::x"), None)
    out, err = capfd.readouterr()
    assert out == ": :error::x\nno end\n"
    assert err.count("\n: :error::x\n") == 2
    assert commands_in(err) == []


def test_lines_of_two_threads_and_both_streams_are_never_one() -> None:
    stream = io.StringIO()

    def write(to: TextIO) -> None:
        for _ in range(200):
            to.write("ab")
            to.write("cd\n")

    with in_workflow(stream):
        threads = [threading.Thread(target=write, args=(to,)) for to in (sys.stdout, sys.stderr)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert lines_of(stream.getvalue()) == ["abcd"] * 400 + [""]


def test_outside_of_a_workflow_nothing_is_changed() -> None:
    before = sys.stdout, sys.stderr
    with without_commands({"GITHUB_ACTIONS": "false"}):
        assert (sys.stdout, sys.stderr) == before
    with without_commands(WORKFLOW):
        assert before[0] is not sys.stdout
    assert (sys.stdout, sys.stderr) == before


def test_a_stream_that_was_closed_before_stays_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    with without_commands(WORKFLOW):
        click.echo("to nobody")
        print("to nobody")
    assert sys.stdout is None


def test_a_reader_that_left_ends_nothing() -> None:
    class Gone(io.StringIO):
        def write(self, _: str) -> int:
            raise BrokenPipeError

    with in_workflow(Gone()):
        sys.stdout.write("held back")
