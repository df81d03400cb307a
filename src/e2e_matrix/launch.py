"""Assembles what a run works with, and takes it all down again: `run` and `demo` end here."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from types import FrameType

from e2e_matrix import clean, store
from e2e_matrix.cancellation import Cancellation
from e2e_matrix.engine.docker import DockerEngine
from e2e_matrix.failures import Cause
from e2e_matrix.llm.replies import Replies
from e2e_matrix.llm.replies_file import load_replies
from e2e_matrix.llm.source import LlmSource, ProviderSource, StandInSource
from e2e_matrix.progress import Progress
from e2e_matrix.record import Job
from e2e_matrix.registry import RegistryClient
from e2e_matrix.results import Results
from e2e_matrix.runner import Tools, run
from e2e_matrix.settings import api_key

# A closed terminal is a request to stop, too.
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def launch(job: Job, progress: Progress, stand_in: bool = False) -> Results:
    """Run the plan on this machine's engine. The stand-in answers where no model is named, or ``stand_in``.

    Raises ``EngineUnavailable``, ``BadInput`` (no key for the model, no image at all, replies that are no
    longer there) or ``InfrastructureError`` before the first cell; afterwards what goes wrong is in the
    results.
    """
    settings, plan = job.settings, job.plan
    stand_in = stand_in or settings.model is None
    key = None if stand_in else api_key(settings, os.environ)
    replies = load_replies(settings.replies) if settings.replies else Replies()
    cancel = Cancellation()
    with ExitStack() as stack:
        stack.callback(progress.close)
        engine = stack.enter_context(closing(DockerEngine.connect()))
        clean.sweep(engine, progress.note)
        for half in store.sweep(settings.reports):
            progress.note(f"removed {half} (half written, and abandoned)")
        models = list(dict.fromkeys(cell.model for cell in plan.cells if cell.model))
        llm: LlmSource = (
            StandInSource(engine, models, replies)
            if stand_in
            else ProviderSource(", ".join(models), settings.base_url, key)
        )
        stack.enter_context(closing(llm))
        registry = stack.enter_context(RegistryClient())
        stack.enter_context(cancelled_by_signals(cancel, progress))
        tools = Tools(engine, llm, registry, progress, cancel)
        results, _ = run(job, tools)
    return results


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
