"""Assembles what a run works with, and takes it all down again: `run` and `demo` end here."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from functools import partial
from types import FrameType

from e2e_matrix import clean, store
from e2e_matrix.cancellation import Cancellation
from e2e_matrix.engine.base import Engine
from e2e_matrix.engine.docker import DockerEngine
from e2e_matrix.execution import Tools
from e2e_matrix.failures import Cause
from e2e_matrix.llm.recording import read_recording
from e2e_matrix.llm.replies import Replies
from e2e_matrix.llm.replies_file import load_replies
from e2e_matrix.llm.source import LlmSource, ProviderSource, RecordingSource, ReplaySource, StandInSource
from e2e_matrix.progress import Progress
from e2e_matrix.record import Job
from e2e_matrix.registry import RegistryClient
from e2e_matrix.results import Results
from e2e_matrix.runner import run
from e2e_matrix.script import scratch
from e2e_matrix.settings import api_key, provider_to_record

# A closed terminal is a request to stop, too.
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def launch(job: Job, progress: Progress, stand_in: bool = False) -> Results:
    """Run the plan on this machine's engine. The stand-in answers where no model is named, or ``stand_in``,
    unless a recording does.

    Raises ``EngineUnavailable``, ``BadInput`` (no key for a model that is to be asked, an unusable recording,
    replies that are no longer there, no image at all) or ``InfrastructureError`` before the first cell;
    afterwards what goes wrong is in the results, but for a recording that the disk refused.
    """
    settings = job.settings
    open_llm = _llm(job, stand_in)
    cancel = Cancellation()
    with ExitStack() as stack:
        stack.callback(progress.close)
        engine = stack.enter_context(closing(DockerEngine.connect()))
        clean.sweep(engine, progress.note)
        scratch.sweep(progress.note)
        for half in store.sweep(settings.reports):
            progress.note(f"removed {half} (half written, and abandoned)")
        llm = stack.enter_context(closing(open_llm(engine)))
        registry = stack.enter_context(RegistryClient())
        stack.enter_context(cancelled_by_signals(cancel, progress))
        tools = Tools(engine, llm, registry, progress, cancel)
        results, _ = run(job, tools)
    return results


def _llm(job: Job, stand_in: bool) -> Callable[[Engine], LlmSource]:
    """What opens the run's model on an engine. Raises BadInput where that cannot be."""
    settings = job.settings
    models = list(dict.fromkeys(cell.model for cell in job.plan.cells if cell.model))
    shown = ", ".join(models)
    key = partial(api_key, settings, os.environ)
    if not stand_in and not settings.reuse:
        key()  # every cell runs: that it is missing is said before anybody is asked
    if settings.replay:
        recording = read_recording(settings.replay)
        return lambda engine: ReplaySource(engine, recording, models)
    if settings.record:
        url = provider_to_record(replace(settings, model=None) if stand_in else settings)
        path = settings.record
        return lambda engine: RecordingSource(engine, shown, url, key, path)
    if stand_in or settings.model is None:
        replies = load_replies(settings.replies) if settings.replies else Replies()
        return lambda engine: StandInSource(engine, models, replies)
    return lambda engine: ProviderSource(shown, settings.base_url, key)


@contextmanager
def cancelled_by_signals(cancel: Cancellation, progress: Progress) -> Iterator[None]:
    """The first of _SIGNALS asks the run to stop; the second ends it at once, still by label; a third breaks
    off whatever that waits for.

    Where the run stops already for another cause, that stays its cause.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may set handlers; a library user cancels by the object
        return

    signals = 0  # counted here, for a run that is over its time limit was not stopped by anybody yet

    def handle(number: int, frame: FrameType | None) -> None:
        nonlocal signals
        signals += 1
        if signals == 2:
            # No exception from here: it may come up in a callback of the interpreter's, which swallows it.
            cancel.hurry()
            return
        if signals > 2:
            raise KeyboardInterrupt  # the last resort, where even the removal hangs
        cancel.cancel(Cause.INTERRUPTED)
        # Not from here: a handler may run while this very thread holds the terminal's lock.
        notice = "stopping: containers are being removed, the report follows (again: at once)"
        threading.Thread(target=progress.note, args=(notice,), daemon=True).start()

    before = {number: signal.signal(number, handle) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
