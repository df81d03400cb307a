"""An example script, unmodified, beside a container of the cell's image.

The published images hold a binary and no Python SDK, so the script runs on this host, in an environment of its
own. Where it starts its server, the cell's container is started instead: script/inside is what makes it so.
"""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing
from decimal import Decimal
from pathlib import Path

from e2e_matrix.engine.base import Mount, is_local
from e2e_matrix.errors import CellFailure
from e2e_matrix.failures import Cause
from e2e_matrix.llm.source import HOST_ALIAS
from e2e_matrix.redaction import secrets_by_name
from e2e_matrix.results import ScriptRun, Tokens
from e2e_matrix.scenarios import container, conversation
from e2e_matrix.scenarios.base import Session, StepRecord
from e2e_matrix.scenarios.started import StartedContainer
from e2e_matrix.script import checkout, sdk
from e2e_matrix.script.broker import Booted, BootRequest, Broker, Call
from e2e_matrix.script.output import Output, agree, read_cost
from e2e_matrix.script.process import ScriptExit, ScriptProcess
from e2e_matrix.script.scratch import Scratch
from e2e_matrix.script.settings import ScriptSettings
from e2e_matrix.script.trace import Trace
from e2e_matrix.script.watch import Watch
from e2e_matrix.text import format_money, format_seconds, one_line

NAME = "script"
VERSION = "1"
STEPS: tuple[str, ...] = (
    "pull", "sdk-version", "environment", "start", "machine", "health", "server-info", "script", "cost", "stop",
    "log",
)  # fmt: skip
Settings = ScriptSettings

# Seconds on a native engine.
BOOT_LIMIT = 120.0
ENVIRONMENT_LIMIT = 900.0
END_GRACE = 5.0
_TURN_SECONDS = 0.05
# The server reads its session keys from here since 1.0: the older of its two names.
SESSION_KEY_VARIABLE = "OH_SESSION_API_KEYS_0"
_SESSION_KEY_VARIABLES = (SESSION_KEY_VARIABLE, "SESSION_API_KEY")
BASE_URL_FIELD, SESSION_KEY_FIELD = "{base-url}", "{session-api-key}"


def run(session: Session) -> None:
    """Run the script once, and hold what it did against what it should."""
    settings = ScriptSettings.model_validate(session.task.settings)
    if not is_local(session.engine.info().address):
        message = "a script and its server share folders, and this engine is on another machine"
        raise CellFailure(Cause.ENGINE_REFUSED, f"{message}: run script scenarios beside the engine")
    script, root = _find(session, settings)
    interpreter = _prepare(session, settings, root)
    with ExitStack() as stack:
        scratch = stack.enter_context(Scratch())
        one = _ScriptInCell(session, settings, script, root, interpreter, scratch)
        stack.callback(one.close)
        one.run()
        one.check_cost()


def _find(session: Session, settings: ScriptSettings) -> tuple[Path, Path]:
    """The script and the root of its checkout, of the revision that the matrix names."""
    script = Path(settings.script)
    root = checkout.root_of(script)
    if settings.at is not None:
        try:
            exported = checkout.export(root, settings.at)
        except ValueError as error:
            raise CellFailure(Cause.SCRIPT_FAILED, f"there is no {settings.at} in {root}: {error}") from error
        script, root = exported / script.relative_to(root), exported
    if not script.is_file():
        at = f" at {settings.at}" if settings.at else ""
        raise CellFailure(Cause.SCRIPT_FAILED, f"there is no script {settings.script}{at}")
    return script, root


def _prepare(session: Session, settings: ScriptSettings, root: Path) -> sdk.Interpreter:
    """The interpreter with the SDK that the matrix asks for; others may be installing it already."""
    wanted: str | Path = root if settings.sdk == "checkout" else settings.sdk
    if settings.sdk == "server":
        wanted = session.task.expected_version or ""
        if wanted.count(".") != 2:
            key = session.task.build or session.task.image
            wanted = session.limits.sdk_versions.get(key, lambda: _ask_for_version(session), session.cancel)
    with session.step(
        "environment", "The script's packages are installed", phase="checks", limit=ENVIRONMENT_LIMIT
    ) as step:
        interpreter = sdk.prepare(wanted, session.cancel)
        step.note(sdk_version=interpreter.sdk_version)
    session.restart_limit()  # a cell's limit is for the product, not for the network
    return interpreter


def _ask_for_version(session: Session) -> str:
    """Which SDK the image was released with, asked of a server of it: once for all images of a ref."""
    title = "A server of this image says which SDK it has"
    with session.step("sdk-version", title, phase="checks", limit=BOOT_LIMIT) as step:
        container.start(session, {}, name="sdk-version")
        _wait_until_healthy(session)
        with container.transport(session, step):
            reply = session.server.get("/server_info")
        told = reply.field("sdk_version")
        started = session.started_container
        started.exit_state = session.engine.stop(started.id, container.CANCEL_GRACE)
        if not isinstance(told, str) or not sdk.is_version(told):
            raise CellFailure(
                Cause.ASSERTION,
                f"the sdk_version that {reply.request} names",
                expected="a release, such as 1.58.0",
                got=repr(one_line(session.redact(str(told)), 100)),
            )
        step.note(sdk_version=told)
    return told


def _wait_until_healthy(session: Session) -> None:
    with session.step("health", "The server boots and is healthy", phase="boot", limit=BOOT_LIMIT) as step:
        reply = container.wait_for_answer(session, step, "/health")
        step.expect(f"{reply.request} answers", 200, reply.status, detail=reply.text)


class _ScriptInCell:
    """One run of a script: its process, the servers that it asked for, and what was seen of both."""

    def __init__(
        self,
        session: Session,
        settings: ScriptSettings,
        script: Path,
        root: Path,
        interpreter: sdk.Interpreter,
        scratch: Scratch,
    ) -> None:
        self._session = session
        self._settings = settings
        self._script = script
        self._root = root
        self._interpreter = interpreter
        self._scratch = scratch
        self._folder = Path(session.task.folder)
        self._output = Output(self._folder, session.secrets)
        self._trace = Trace(session.started)
        self._watch = Watch(session.task.slowness)
        self._broker = Broker(scratch.line, self._on_call)
        self._servers: dict[str, StartedContainer] = {}
        self._ours = 0.0  # seconds that the script waited for a server of ours to stop after its last word
        self._exit: ScriptExit | None = None
        self._began: float | None = None
        self._ended: float | None = None

    def run(self) -> None:
        first = self._boot_first() if self._reads_address else None
        title = f"The script runs to its end with exit code {self._settings.expect.exit}"
        try:
            with self._session.step(
                "script", title, phase="script", limit=self._settings.timeout
            ) as step:
                try:
                    self._drive(step, first)
                    self._check_exit(step)
                finally:
                    self._describe(step)
        finally:
            if first is not None:
                self._stop(first)

    def close(self) -> None:
        """Let go of what was taken; the containers are the cell's to remove."""
        with ExitStack() as stack:
            stack.callback(self._output.close)
            stack.callback(self._watch.close)
            stack.callback(self._broker.close)

    def check_cost(self) -> None:
        """Hold the cost that was printed against the server's own."""
        session, expected = self._session, self._settings.expect.cost
        with session.step(
            "cost", "The script's cost is the server's", phase="checks", limit=container.CHECK_LIMIT, go_on=True
        ) as step:
            printed, counted = self._output.cost, self._watch.cost
            if printed is not None:
                step.note(printed=printed)
            if counted is not None:
                step.note(counted=format_money(counted))
            for one in self._watch.conversations:
                if one.bill.wrong:
                    told = one_line(session.redact(one.bill.wrong), 200)
                    message = "the server's cost is none that can be"
                    raise CellFailure(Cause.ASSERTION, message, expected="a number above zero", got=told)
            if counted is not None:
                session.spend(counted, ended=True)
            if printed is None:
                if expected != "optional":
                    expected_line = "a line on stdout that begins with EXAMPLE_COST:"
                    raise CellFailure(
                        Cause.ASSERTION, "the script printed no cost", expected=expected_line, got="none"
                    )
                return
            cost = read_cost(printed)
            if cost is None:
                message = "the script printed a cost that is none"
                got = repr(one_line(printed, 100))
                raise CellFailure(Cause.ASSERTION, message, expected="EXAMPLE_COST: and US dollars", got=got)
            if counted is None:
                step.note(counted="unknown")
                if cost:
                    session.spend(cost, ended=True)
            elif expected == "required" and not any(agree(cost, sum_) for sum_ in self._counted(counted)):
                raise CellFailure(
                    Cause.ASSERTION,
                    "the cost that the script printed is not the server's",
                    expected=format_money(counted),
                    got=format_money(cost),
                )

    def _counted(self, whole: Decimal) -> Sequence[Decimal]:
        """What a script may rightly print: of all its conversations, or of one of several."""
        return [whole, *(cost for one in self._watch.conversations if (cost := one.bill.cost) is not None)]

    # The script and its servers

    def _drive(self, step: StepRecord, first: Booted | None) -> None:
        """Serve the script until it has ended; it is ended where its time is over or the run is stopped."""
        session = self._session
        command = [str(self._interpreter.python), str(self._script), *self._filled(self._settings.arguments, first)]
        if first is not None:
            self._broker.serve_first(first)
        self._began = time.monotonic()
        process = ScriptProcess(
            command, cwd=self._working_directory, environment=self._environment(first), sink=self._output.write
        )
        with closing(process):
            try:
                while not process.exited.is_set():
                    session.cancel.check()
                    self._check_time(step)
                    self._check_servers()
                    if not session.llm.is_alive():
                        raise CellFailure(Cause.LLM_UNAVAILABLE, "the stand-in LLM stopped while the script ran")
                    if session.limits.budget.is_limited and (cost := self._watch.cost):
                        session.spend(cost)
                    self._turn(_TURN_SECONDS)
                self._ended = time.monotonic()
            finally:
                self._exit = process.end(END_GRACE)
                self._ended = self._ended or time.monotonic()
                while self._turn(0):  # servers that it left running
                    pass

    def _turn(self, timeout: float) -> bool:
        return self._broker.handle(timeout, self._boot, self._stop)

    def _check_time(self, step: StepRecord) -> None:
        if step.deadline.remaining() > 0:
            return
        cause = Cause.SCRIPT_TIMEOUT if step.deadline.cause is Cause.STEP_TIMEOUT else step.deadline.cause
        limit = format_seconds(step.deadline.limit)
        message = f"{step.deadline.what.replace('step script', 'the script')} took longer than {limit}"
        if (ended := self._terminal_at) is not None:
            message += f", and its conversation had ended {format_seconds(time.monotonic() - ended)} before"
        raise CellFailure(cause, message, detail=self._output.last_lines())

    def _check_servers(self) -> None:
        """A server that ends by itself ends the cell: its script would wait for it, or say something else."""
        for started in self._servers.values():
            if started.exit_state is None and started.has_ended:
                self._session.current = started
                container.check_running(self._session)

    def _boot_first(self) -> Booted:
        """A server for a script that starts none itself."""
        wants_key = any(SESSION_KEY_FIELD in text for text in self._texts)
        return self._boot(BootRequest(None, "127.0.0.1", {}, wants_key))

    def _boot(self, request: BootRequest) -> Booted:
        session = self._session
        environment = dict(request.extra_env)
        key = next((environment[name] for name in _SESSION_KEY_VARIABLES if environment.get(name)), None)
        if request.use_session_api_key and key is None:
            key = environment[SESSION_KEY_VARIABLE] = secrets.token_urlsafe(24)
        session.hide(*secrets_by_name(environment), *filter(None, [key]))
        container.start(session, environment, self._mounts)
        container.check_machine(session)
        _wait_until_healthy(session)
        container.describe_server(session)
        if not self._servers:
            boot = sum(done.duration_seconds for done in session.findings.steps if done.phase == "boot")
            session.phase(boot=round(boot, 4))
        base_url = session.server.base_url
        self._servers[base_url] = session.started_container
        return Booted(base_url, key if request.use_session_api_key else None)

    def _stop(self, booted: Booted) -> None:
        started = self._servers[booted.base_url]
        began = time.monotonic()
        self._watch.last_look(booted.base_url)
        self._session.current = started
        if started.exit_state is None:
            container.stop(self._session)
        if self._exit is None and self._terminal_at is not None:
            self._ours += time.monotonic() - began

    @property
    def _mounts(self) -> Sequence[Mount]:
        """What the script and its server share: its temporary files, and the checkout to read."""
        shared = [Mount(str(path), str(path)) for path in (self._scratch.tmp, self._scratch.home)]
        return [*shared, Mount(str(self._root), str(self._root), read_only=True)]

    # The script's surroundings

    @property
    def _texts(self) -> Sequence[str]:
        return [*self._settings.arguments, *self._settings.environment.values()]

    @property
    def _reads_address(self) -> bool:
        return any(BASE_URL_FIELD in text for text in self._texts)

    @property
    def _working_directory(self) -> Path:
        return self._root if self._settings.cwd == "checkout" else self._scratch.tmp

    def _filled(self, texts: Sequence[str], first: Booted | None) -> list[str]:
        if first is None:
            return list(texts)
        values = {BASE_URL_FIELD: first.base_url, SESSION_KEY_FIELD: first.session_api_key or ""}
        filled = list(texts)
        for field, value in values.items():
            filled = [text.replace(field, value) for text in filled]
        return filled

    def _environment(self, first: Booted | None) -> Mapping[str, str]:
        """All that the script's process gets: nothing of ours is in it, least of all our secrets."""
        llm, binaries = self._session.task.llm, self._interpreter.python.parent
        given = self._settings.environment
        own = dict(zip(given, self._filled(list(given.values()), first), strict=True))
        paths = [self._broker.environment["PYTHONPATH"], *filter(None, [own.pop("PYTHONPATH", "")])]
        known = {
            "PATH": f"{binaries}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "VIRTUAL_ENV": str(binaries.parent),
            "HOME": str(self._scratch.home),
            "TMPDIR": str(self._scratch.tmp),
            "LANG": "C.UTF-8",
            "PYTHONUNBUFFERED": "1",
            "PYTHONDONTWRITEBYTECODE": "1",  # or importing from a checkout would write into it
            **container.BASE_ENVIRONMENT,
            "LLM_MODEL": llm.model,
            "LLM_API_KEY": llm.api_key,
            # The one name for this host that both the script and its server can use is its address.
            "LLM_BASE_URL": llm.base_url and llm.base_url.replace(HOST_ALIAS, self._session.engine.host_gateway()),
        }
        set_ = {name: value for name, value in known.items() if value is not None}
        return {**set_, **self._broker.environment, **own, "PYTHONPATH": ":".join(paths)}

    # What was seen

    def _on_call(self, call: Call) -> None:
        if call.session_key:
            self._session.hide(call.session_key)
        self._trace.add(call)
        self._watch.see(call)

    @property
    def _terminal_at(self) -> float | None:
        """When the last of its conversations had ended; None while one has not."""
        ends = [one.ended_at for one in self._watch.conversations]
        known = [end for end in ends if end is not None]
        return max(known) if known and len(known) == len(ends) else None

    def _check_exit(self, step: StepRecord) -> None:
        ended, expected = self._exit, self._settings.expect.exit
        if ended is None:
            raise RuntimeError("the script has not ended")
        step.note(exit_code=ended.code)
        if ended.left_behind:
            step.note(left_behind=ended.left_behind)
        if ended.code == expected:
            return
        how = f"exit code {ended.code}" if ended.signal is None else f"signal {ended.signal}"
        cause, why = self._why(how)
        last = self._output.last_lines()
        raise CellFailure(cause, why, expected=f"exit code {expected}", got=how, detail=last)

    def _why(self, how: str) -> tuple[Cause, str]:
        """What is to blame for a script that ended so: what it could not help comes first."""
        for failure in self._broker.failures:
            return failure.cause, f"the script ended with {how}, as its server failed: {failure.message}"
        if error := self._watch.error:
            error = one_line(self._session.redact(error), 400)
            cause = conversation.LLM_CAUSES.get(error.partition(":")[0], Cause.SCRIPT_FAILED)
            return cause, f"the script ended with {how}, after a conversation had failed: {error}"
        word = one_line(self._output.last_word(), 300)
        if word.startswith("EOFError"):
            word = f"it read its standard input, which is empty ({word})"
        return Cause.SCRIPT_FAILED, f"the script ended with {how}{word and f': {word}'}"

    def _describe(self, step: StepRecord) -> None:
        """Write down what the script did, however it ended."""
        session, log = self._session, self._output.log
        if self._began is None or self._ended is None or self._exit is None:
            return  # it did not even start
        self._output.close()
        terminal = self._terminal_at
        conversations = self._watch.conversations
        wasted = None if terminal is None else max(0.0, self._ended - terminal - self._ours)
        printed = self._output.cost and read_cost(self._output.cost)
        session.findings.script = ScriptRun(
            path=self._settings.script,
            revision=self._settings.at,
            sha256=hashlib.sha256(self._script.read_bytes()).hexdigest(),
            sdk_version=self._interpreter.sdk_version,
            exit_code=self._exit.code,
            signal=self._exit.signal,
            start_seconds=self._since(self._began),
            duration_seconds=round(self._ended - self._began, 4),
            printed_cost_usd=printed or (printed if printed == 0 else None),
            server_cost_usd=self._watch.cost,
            conversations=len(conversations),
            first_request_seconds=self._trace.first_request_seconds,
            calls=self._trace.calls(),
            calls_total=self._trace.total,
            terminal_status=one_line(conversations[-1].status or "", 40) or None if conversations else None,
            terminal_seconds=None if terminal is None else self._since(terminal),
            wasted_seconds=None if wasted is None else round(wasted, 4),
            calls_after_terminal=None if terminal is None else self._trace.questions_after(terminal),
            left_behind=self._exit.left_behind,
            output_bytes=log.total_bytes,
            output_dropped_bytes=log.dropped_bytes,
            output_excerpt=self._output.last_lines() if self._exit.code != self._settings.expect.exit else None,
        )
        step.note(requests=self._trace.total, conversations=len(conversations))
        if wasted is not None:
            step.note(wasted_seconds=round(wasted, 2))
        self._note_totals(terminal)

    def _note_totals(self, terminal: float | None) -> None:
        session, began = self._session, self._trace.conversation_at
        if self._trace.init_seconds is not None:
            session.phase(init=round(self._trace.init_seconds, 4))
        if began is not None and terminal is not None:
            session.phase(conversation=round(max(0.0, terminal - began), 4))
        if cost := self._watch.cost:
            session.note_cost(cost)
        counted = [one.bill.tokens for one in self._watch.conversations]
        if counted:
            prompt, completion = sum(one.prompt for one in counted), sum(one.completion for one in counted)
            session.findings.tokens = Tokens(prompt=prompt, completion=completion, total=prompt + completion)

    def _since(self, moment: float) -> float:
        return round(max(0.0, moment - self._session.started), 4)
