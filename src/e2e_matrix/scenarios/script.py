"""An example script, unmodified, beside a container of the cell's image.

The published images hold a binary and no Python SDK, so the script runs on this host, in an environment of
its own. Where it starts its server, the cell's container is started instead: script/inside makes it so.
"""

from __future__ import annotations

import errno
import hashlib
import secrets
import time
from contextlib import closing
from pathlib import Path

import httpx

from e2e_matrix.cache import cache_folder
from e2e_matrix.engine.base import HOST_ALIAS, is_local
from e2e_matrix.errors import CellFailure, InfrastructureError
from e2e_matrix.failures import Cause
from e2e_matrix.llm import StandIn
from e2e_matrix.redaction import secrets_by_name
from e2e_matrix.results import ScriptRun
from e2e_matrix.scenarios import container, conversation
from e2e_matrix.scenarios.base import Session, StepRecord
from e2e_matrix.scenarios.script_account import Account, Ended
from e2e_matrix.scenarios.started import StartedContainer
from e2e_matrix.script import checkout, sdk
from e2e_matrix.script.broker import Booted, BootRequest, Broker
from e2e_matrix.script.output import agree, read_cost
from e2e_matrix.script.process import ScriptExit, ScriptProcess
from e2e_matrix.script.scan import scan
from e2e_matrix.script.scratch import Scratch
from e2e_matrix.script.settings import ScriptSettings, is_release
from e2e_matrix.script.surroundings import Surroundings
from e2e_matrix.text import format_money, format_seconds, one_line

NAME = "script"
VERSION = "1"
STEPS: tuple[str, ...] = (
    "pull", "sdk-version", "environment", "start", "machine", "health", "server-info", "script",
    "conversations", "cost", "stop", "log",
)  # fmt: skip
Settings = ScriptSettings

# Seconds on a native engine.
BOOT_LIMIT = 120.0
ENVIRONMENT_LIMIT = 900.0
END_GRACE = 5.0
_TURN_SECONDS = 0.05
_LAST_QUESTION = 2.0
# Servers read their session keys from both, the second being the older name.
SESSION_KEY_VARIABLES = ("OH_SESSION_API_KEYS_0", "SESSION_API_KEY")


def run(session: Session) -> None:
    """Run the script once, and hold what it did against what it should."""
    try:
        _run(session)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        message = f"the script's folders could not be kept: {error.filename or 'a file'}: {error.strerror}"
        raise CellFailure(Cause.DISK_FULL, message) from error


def _run(session: Session) -> None:
    settings = ScriptSettings.model_validate(session.task.settings)
    if not is_local(session.engine.info().address):
        message = "a script and its server share folders, and this engine is on another machine"
        raise CellFailure(Cause.ENGINE_REFUSED, f"{message}: run script scenarios beside the engine")
    session.hide(*secrets_by_name(settings.environment))
    script, root, origin = _find(session, settings)
    interpreter = _prepare(session, settings, root)
    # A server that was not stopped, because time was over, still writes there: removing it would not end.
    scratch = session.outlasting.enter_context(Scratch(session.say))
    around = Surroundings(settings, script, root, interpreter, scratch, origin)
    with closing(Account(session)) as account:
        _ScriptInCell(session, around, account).run()
        _check_conversations(session, account, settings)
        _check_waste(session, settings)
        _check_cost(session, account, settings)


def _find(session: Session, settings: ScriptSettings) -> tuple[Path, Path, checkout.Origin | None]:
    """The script and the root of its checkout, of the revision that the matrix names, and their commit."""
    script = Path(settings.script)
    root = checkout.root_of(script)
    if settings.at is None:
        origin = checkout.origin_of(script, root)
    else:
        try:
            exported = checkout.export(root, settings.at, cache_folder(), session.cancel, session.say)
        except ValueError as error:
            message = f"{root} cannot be had at {settings.at}: {error}"
            raise CellFailure(Cause.SCRIPT_REFUSED, message) from error
        except InfrastructureError as error:
            raise CellFailure(Cause.SCRIPT_ENVIRONMENT, str(error)) from error
        script, root = exported / script.resolve().relative_to(root), exported
        origin = checkout.Origin(exported.name)
    at = f" at {settings.at}" if settings.at else ""
    try:
        source = script.read_text(errors="replace")
    except OSError as error:
        message = f"{settings.path}{at} cannot be read: {error.strerror}"
        raise CellFailure(Cause.SCRIPT_REFUSED, message) from error
    # Of the files of the work tree it was said when the matrix was read.
    for finding in scan(source) if settings.at else ():
        if finding.is_refused(settings.stdin):
            raise CellFailure(Cause.SCRIPT_REFUSED, f"{settings.path}:{finding.line}{at}: {finding}")
    return script, root, origin


def _prepare(session: Session, settings: ScriptSettings, root: Path) -> sdk.Interpreter:
    """The interpreter with the SDK that the matrix asks for; others may be installing it already."""
    wanted: str | Path = root if settings.sdk == "checkout" else settings.sdk
    if settings.sdk == "server":
        wanted = session.task.expected_version or ""
        if not is_release(wanted):
            key = session.task.build or session.task.image
            wanted = session.limits.sdk_versions.get(key, lambda: _ask_for_version(session), session.cancel)
    with session.step(
        "environment", "The script's packages are installed", phase="checks", limit=ENVIRONMENT_LIMIT
    ) as step:
        interpreter = sdk.prepare(wanted, session.cancel, session.say)
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
        started.exit_state = session.engine.stop(started.id, 0)
        if not isinstance(told, str) or not is_release(told):
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


def _check_conversations(session: Session, account: Account, settings: ScriptSettings) -> None:
    """A script that ends well may have tested nothing, or not have looked at what became of it."""
    expect = settings.expect
    title = "The script used its server, and no conversation of it failed"
    with session.step(
        "conversations", title, phase="checks", limit=container.CHECK_LIMIT, go_on=True
    ) as step:
        seen = account.watch.conversations
        step.note(conversations=len(seen))
        if expect.conversations == "finished":
            if not any(started.name == container.SERVER for started in session.containers):
                wanted = "a server, started or asked as docs/scripts.md says"
                message = "the script used no server of this image, and so tested nothing of it"
                raise CellFailure(Cause.SCRIPT_FAILED, message, expected=wanted, got="none")
            for one in seen:
                if one.status in ("error", "stuck"):
                    raise account.conversation_failure(one)


def _check_waste(session: Session, settings: ScriptSettings) -> None:
    script, most = session.findings.script, settings.expect.wasted
    if most is None or script is None or script.wasted_seconds is None:
        return
    title = "The script ended soon after its conversation"
    with session.step("wasted", title, phase="checks", limit=container.CHECK_LIMIT, go_on=True) as step:
        wasted, allowed = script.wasted_seconds, most * session.task.slowness
        step.note(wasted_seconds=wasted)
        if wasted > allowed:
            told = format_seconds(wasted)
            message = f"the script went on for {told} after its conversation had ended"
            raise CellFailure(
                Cause.SCRIPT_FAILED, message, expected=f"at most {format_seconds(allowed)}", got=told
            )


def _check_cost(session: Session, account: Account, settings: ScriptSettings) -> None:
    """Hold the cost that was printed against the server's own."""
    expected = settings.expect.cost
    with session.step(
        "cost", "The script's cost is the server's", phase="checks", limit=container.CHECK_LIMIT, go_on=True
    ) as step:
        printed, counted = account.output.cost, account.watch.cost
        step.note(counted="unknown" if counted is None else format_money(counted))
        for wrong in (one.bill.wrong for one in account.watch.conversations if one.bill.wrong):
            got = one_line(session.redact(wrong), 200)
            message = "the server's cost is none that can be"
            raise CellFailure(Cause.ASSERTION, message, expected="a number above zero", got=got)
        if counted is not None:
            session.spend(counted, ended=True)
        if printed is None:
            if expected != "optional":
                wanted = "a line on stdout that begins with EXAMPLE_COST:"
                message = "the script printed no cost; where it need not, set expect.cost: optional"
                raise CellFailure(Cause.SCRIPT_FAILED, message, expected=wanted, got="none")
            return
        step.note(printed=printed)
        cost = read_cost(printed)
        if cost is None:
            message, got = "the script printed a cost that is none", repr(one_line(printed, 100))
            raise CellFailure(Cause.SCRIPT_FAILED, message, expected="EXAMPLE_COST: and US dollars", got=got)
        if counted is None and cost:
            session.spend(cost, ended=True)  # somebody spent it: the script itself, perhaps
        elif counted is None and expected == "required" and _has_a_price(session, account, settings):
            message = "the server counted no cost for a conversation that the stand-in answered"
            raise CellFailure(Cause.ASSERTION, message, expected="above zero", got=format_money(cost))
        right = account.rightly_printed
        if expected == "required" and right and not any(agree(cost, one) for one in right):
            raise CellFailure(
                Cause.SCRIPT_FAILED,
                "the cost that the script printed is not the server's",
                expected=format_money(right[0]),
                got=format_money(cost),
            )


def _has_a_price(session: Session, account: Account, settings: ScriptSettings) -> bool:
    """Whether a conversation was served by the stand-in, under a name whose price every server knows."""
    named_otherwise = "LLM_MODEL" in settings.environment or session.task.llm.model != StandIn.model
    if named_otherwise or not session.task.llm.is_stand_in or not account.watch.conversations:
        return False
    return any(call.status == 200 for call in session.llm.calls() or ())


class _ScriptInCell:
    """One run of a script: its process, and the servers that it asked for."""

    def __init__(self, session: Session, around: Surroundings, account: Account) -> None:
        self._session = session
        self._around = around
        self._settings = around.settings
        self._account = account
        self._broker = Broker(around.scratch.line, account.add)
        self._servers: dict[str, StartedContainer] = {}
        self._exit: ScriptExit | None = None
        self._bad_end: CellFailure | None = None  # the first of a server's

    def run(self) -> None:
        try:
            with closing(self._broker):
                first = self._boot_first()
                try:
                    self._run(first)
                finally:
                    if first is not None:
                        self._stop(first)
        finally:
            findings = self._session.findings
            findings.failure = findings.failure or self._bad_end

    def _run(self, first: Booted | None) -> None:
        session, expected, origin = self._session, self._settings.expect.exit, self._around.origin
        title = f"The script runs to its end with exit code {expected}"
        session.findings.script = known = ScriptRun(
            path=self._settings.path,
            revision=self._settings.at,
            commit=origin and origin.commit,
            changed=origin and origin.changed,
            sha256=hashlib.sha256(self._around.script.read_bytes()).hexdigest(),
            sdk_version=self._around.interpreter.sdk_version,
        )
        with session.step("script", title, phase="script", limit=self._settings.timeout) as step:
            began = time.monotonic()
            process = self._start(first)
            try:
                with closing(process):
                    self._serve(process, step)
            finally:
                if self._exit is not None:
                    ended = Ended(began, self._ended, self._exit)
                    self._account.output.close()
                    session.findings.script = self._account.describe(known, ended, expected)
                    self._account.note_totals()
            step.note(exit_code=ended.exit.code, requests=self._account.trace.total)
            if ended.exit.left_behind:
                step.note(left_behind=ended.exit.left_behind)
            if ended.exit.survivors:
                step.note(could_not_be_ended=ended.exit.survivors)
            if unused := session.llm.unused():
                step.note(recorded_calls_not_asked_for=unused)
            if difference := session.llm.difference():
                raise difference.failure()
            if ended.exit.code != expected:
                cause, message = self._account.blame(ended.how, self._broker.failures)
                raise CellFailure(
                    cause,
                    message,
                    expected=f"exit code {expected}",
                    got=ended.how,
                    detail=self._account.output.last_lines(),
                )

    def _start(self, first: Booted | None) -> ScriptProcess:
        try:
            return ScriptProcess(
                self._around.command(first),
                cwd=self._around.working_directory,
                environment=self._around.environment(self._variables, first),
                sink=self._account.output.write,
            )
        except OSError as error:
            message = f"the script could not be started: {error.strerror or error}"
            raise CellFailure(Cause.SCRIPT_ENVIRONMENT, message) from error

    @property
    def _variables(self) -> dict[str, str | None]:
        llm = self._session.task.llm
        host = self._session.engine.host_gateway()
        return {
            **container.BASE_ENVIRONMENT,
            "LLM_MODEL": llm.model,
            "LLM_API_KEY": llm.api_key,
            # The one name of this host that both the script and its server can use is its address.
            "LLM_BASE_URL": llm.base_url and llm.base_url.replace(HOST_ALIAS, host),
            **self._broker.environment,
        }

    def _serve(self, process: ScriptProcess, step: StepRecord) -> None:
        """Start and stop servers for the script until it has ended, or has to be."""
        session = self._session
        try:
            while not process.exited.is_set():
                session.cancel.check()
                self._check_time(step)
                self._check_servers()
                if not session.llm.is_alive():
                    message = "what serves the model on this host stopped while the script ran"
                    raise CellFailure(Cause.LLM_UNAVAILABLE, message)
                if self._account.watch.refusals >= conversation.MOST_REFUSALS:
                    message = "the model's provider refused the content, and the server asks again and again"
                    raise CellFailure(Cause.LLM_REFUSED, message)
                if session.limits.budget.is_limited and (cost := self._account.watch.cost):
                    session.spend(cost)
                self._turn(_TURN_SECONDS)
        finally:
            self._ended = time.monotonic()
            self._exit = process.end(END_GRACE)
            self._broker.close()  # what it has told last is read now
            while self._turn(0):  # servers that it did not stop itself
                pass
            for base_url in self._servers:  # one that the cell booted is stopped after the account of it
                self._account.watch.last_look(base_url)

    def _turn(self, timeout: float) -> bool:
        return self._broker.handle(timeout, self._boot, self._stop)

    def _check_time(self, step: StepRecord) -> None:
        deadline = step.deadline
        if deadline.remaining() > 0:
            return
        by_step = deadline.cause is Cause.STEP_TIMEOUT
        what, cause = ("the script", Cause.SCRIPT_TIMEOUT) if by_step else (deadline.what, deadline.cause)
        message = f"{what} took longer than {deadline.limit:.0f} s"
        if (ended := self._account.terminal_at) is not None:
            ago = format_seconds(time.monotonic() - ended)
            message += f", and its conversation had ended {ago} before"
        raise CellFailure(cause, message, detail=self._account.output.last_lines())

    def _check_servers(self) -> None:
        """A server that ends by itself ends the cell: its script would wait for it, or say something else."""
        for started in self._servers.values():
            if started.exit_state is None and started.has_ended:
                self._session.current = started
                container.check_running(self._session)

    def _boot_first(self) -> Booted | None:
        """A server for a script that starts none itself."""
        if not self._around.reads_address:
            return None
        booted = self._boot(BootRequest(None, "127.0.0.1", {}, self._around.reads_session_key))
        self._broker.serve_first(booted)
        return booted

    def _boot(self, request: BootRequest) -> Booted:
        session = self._session
        environment = dict(request.extra_env)
        key = next((environment[name] for name in SESSION_KEY_VARIABLES if environment.get(name)), None)
        if request.use_session_api_key and key is None:
            key = environment[SESSION_KEY_VARIABLES[0]] = secrets.token_urlsafe(24)
        session.hide(*secrets_by_name(environment), *filter(None, [key]))
        earlier = len(session.findings.steps)
        # On the port that the script asked for: a server may be given its own address, to ask itself.
        container.start(session, environment, mounts=self._around.mounts, port=request.port or container.PORT)
        container.check_machine(session)
        _wait_until_healthy(session)
        if not self._servers:
            session.phase(
                boot=round(sum(done.duration_seconds for done in session.findings.steps[earlier:]), 4)
            )
        # Of another image of the same build it may be another, and only one was asked.
        matching = self._around.interpreter.sdk_version if self._settings.sdk == "server" else None
        container.describe_server(session, matching)
        base_url = session.server.base_url
        self._servers[base_url] = session.started_container
        return Booted(base_url, key if request.use_session_api_key else None)

    def _stop(self, booted: Booted) -> None:
        """A server that does not end well is told of after what the script did: that came first."""
        began = time.monotonic()
        self._account.watch.last_look(booted.base_url)
        started = self._session.current = self._servers[booted.base_url]
        findings = self._session.findings
        before = findings.failure
        try:
            if started.exit_state is None:
                self._see_whether_it_lives()
                container.stop(self._session)
        finally:
            self._bad_end = self._bad_end or (findings.failure if findings.failure is not before else None)
            findings.failure = before
            if self._exit is None:
                self._account.waited_for_stop(time.monotonic() - began)

    def _see_whether_it_lives(self) -> None:
        """A script may be faster than the engine to know that its server has died."""
        try:
            self._session.server.get("/health", timeout=_LAST_QUESTION)
        except httpx.TimeoutException:
            pass  # it is there, and stopping it shows the rest
        except (httpx.TransportError, OSError):
            self._session.exited.wait(container.DEATH_PATIENCE)
