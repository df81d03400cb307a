"""Runs as the store would hold them, for the report's tests: six passed, broken, hostile, large."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from e2e_matrix.failures import Cause, Outcome
from e2e_matrix.results import (
    Attempt,
    Cell,
    EngineFacts,
    Image,
    Llm,
    LlmCall,
    Phases,
    Results,
    Run,
    Server,
    SettingValue,
    Step,
    Tokens,
    Totals,
)

START = datetime(2025, 11, 22, 8, 13, 7, tzinfo=UTC)
SHA = "3f1c2ab9d04e77c1a5be0f6a2f6f4a1c9e8d7b60"
COST = Decimal("0.0000168")
CALL_COST = Decimal("0.0001008")
VARIANTS = ["python", "java", "golang"]
ARCHES = ["amd64", "arm64"]

# name, title, phase, seconds on a native engine, seconds emulated, facts
SCRIPT: list[tuple[str, str, str, float, float, dict[str, Any]]] = [
    ("pull", "The image is pulled by its child digest", "pull", 2.31, 2.52, {"bytes": 318_402_117}),
    ("start", "The container starts", "boot", 0.42, 0.61, {"port": 49153}),
    ("dormant", "The server boots and says that it is dormant", "boot", 4.87, 31.4, {"state": "dormant"}),
    ("platform", "The machine is the one that was asked for", "checks", 0.06, 0.31, {"machine": "x86_64"}),
    (
        "gate",
        "Every gated route answers 503, every open one 200",
        "checks",
        0.21,
        0.94,
        {"gated": 14, "open": 8},
    ),
    ("refusals", "Init without a key, with a wrong one or a bad field is refused", "checks", 0.04, 0.17, {}),
    ("init", "Init with the key is accepted and the server is ready", "init", 0.58, 3.72, {"status": 200}),
    ("session-keys", "A request without the session key is refused", "checks", 0.03, 0.12, {"status": 401}),
    ("create", "A conversation is created", "conversation", 0.31, 1.88, {"status": 201}),
    (
        "terminal",
        "The conversation reaches a terminal state",
        "conversation",
        1.12,
        7.6,
        {"seen": "WebSocket"},
    ),
    ("answer", "The answer contains 42", "checks", 0.02, 0.09, {"answer": "42"}),
    ("cost", "Cost and tokens are the server's own and match", "checks", 0.02, 0.08, {"calls": 1}),
    ("delete", "The conversation is deleted", "conversation", 0.05, 0.2, {"status": 200}),
    ("removal", "The server stops cleanly and is removed", "removal", 0.83, 1.94, {"exit_code": 0}),
]
NAMES = [row[0] for row in SCRIPT]


def digest(text: str) -> str:
    """A digest that looks like one and is the same every time."""
    import hashlib

    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


def steps(emulated: bool, fail_at: str | None = None, **failure: Any) -> list[Step]:
    """The scenario's steps, up to and with ``fail_at``, which gets what ``failure`` says, then removal."""
    made: list[Step] = []
    at = 0.01
    for name, title, phase, native, slow, facts in SCRIPT:
        seconds = failure.get("seconds", 3.0) if name == fail_at else slow if emulated else native
        broken = name == fail_at
        never_came = fail_at is not None and NAMES.index(name) > NAMES.index(fail_at)
        if never_came and (name != "removal" or fail_at == "pull"):
            continue
        made.append(
            Step(
                name=name,
                title=title,
                phase=phase,
                outcome=failure.get("outcome", Outcome.FAILED) if broken else Outcome.PASSED,
                start_seconds=round(at, 3),
                duration_seconds=seconds,
                facts={}
                if broken
                else facts | ({"machine": "aarch64"} if emulated and name == "platform" else {}),
                **(
                    {key: failure.get(key) for key in ("message", "cause", "expected", "got", "detail")}
                    if broken
                    else {}
                ),
            )
        )
        at += seconds + 0.004
    return made


def attempt(
    cell: str,
    emulated: bool,
    worker: int,
    offset: float,
    number: int = 1,
    fail_at: str | None = None,
    log: str | None = None,
    **failure: Any,
) -> Attempt:
    """One attempt of a cell; it passed where ``fail_at`` is None."""
    done = steps(emulated, fail_at, **failure)
    spent = {
        phase: round(sum(step.duration_seconds for step in done if step.phase == phase), 3)
        for phase in ("pull", "boot", "init", "conversation", "removal")
    }
    passed = fail_at is None
    talked = passed or NAMES.index(fail_at or "pull") > NAMES.index("terminal")
    last = done[-1]
    return Attempt(
        number=number,
        outcome=Outcome.PASSED if passed else failure.get("outcome", Outcome.FAILED),
        cause=failure.get("cause"),
        message=failure.get("message"),
        started_at=START + timedelta(seconds=offset),
        duration_seconds=round(last.start_seconds + last.duration_seconds, 3),
        worker=worker,
        run_offset_seconds=offset,
        phases=Phases(
            **{key: value or None for key, value in spent.items()}, first_token=0.34 if talked else None
        ),
        steps=done,
        cost_usd=COST if talked else None,
        tokens=Tokens(prompt=96, completion=4, total=100) if talked else None,
        llm_calls=[
            LlmCall(
                path="/v1/chat/completions",
                status=200,
                streamed=False,
                prompt_tokens=96,
                completion_tokens=4,
                received_at=START + timedelta(seconds=offset + 9),
                first_byte_seconds=0.02,
                duration_seconds=0.031,
            )
        ]
        if talked
        else [],
        server=server() if passed else Server(),
        machine=("aarch64" if emulated else "x86_64") if passed else None,
        exit_code=failure.get("exit_code", 0),
        folder=f"cells/{cell}/attempt-{number}",
        log_excerpt=log,
    )


def server(version: str = "1.58.2") -> Server:
    return Server(
        version=version, sdk_version=version, build_git_sha=SHA, build_git_ref="main", python_version="3.13.5"
    )


def image(variant: str, arch: str) -> Image:
    repository = "ghcr.io/openhands/agent-server"
    child = digest(f"{variant}-{arch}")
    return Image(
        reference=f"{repository}:{SHA[:7]}-{variant}",
        digest=child,
        index_digest=digest(variant),
        size_bytes=318_402_117 + 41_000_000 * VARIANTS.index(variant) if variant in VARIANTS else 318_402_117,
        unpacked_bytes=1_043_000_000,
        platform=f"linux/{arch}",
        pinned=f"{repository}@{child}",
        arch_tag=f"{SHA[:7]}-{variant}-{arch}",
        arch_tag_matches=True,
    )


def cell(variant: str, arch: str, attempts: list[Attempt], **changed: Any) -> Cell:
    """A cell as its last attempt left it; ``changed`` replaces fields."""
    last = attempts[-1] if attempts else None
    values: dict[str, Any] = {
        "id": f"{variant}-{arch}",
        "axes": {"variant": variant, "arch": arch},
        "scenario": "deferred-init",
        "outcome": last.outcome if last else Outcome.NOT_RUN,
        "flaky": bool(last and last.outcome is Outcome.PASSED)
        and any(one.outcome is Outcome.FAILED for one in attempts),
        "attempt": last.number if last else None,
        "cause": last.cause if last else None,
        "message": last.message if last else None,
        "emulated": arch == "arm64",
        "platform": f"linux/{arch}",
        "image": image(variant, arch),
        "cost_usd": last.cost_usd if last else None,
        "tokens": last.tokens if last else None,
        "duration_seconds": sum(one.duration_seconds for one in attempts),
        "phases": last.phases if last else Phases(),
        "steps": last.steps if last else [],
        "attempts": attempts,
        "server": last.server if last else Server(),
    }
    return Cell(**(values | changed))


def run(cells: list[Cell], **changed: Any) -> Results:
    """The results of these cells, with the totals counted."""
    count = {outcome: sum(cell.outcome is outcome for cell in cells) for outcome in Outcome}
    costs = [cell.cost_usd for cell in cells if cell.cost_usd is not None]
    ends = [one.run_offset_seconds + one.duration_seconds for cell in cells for one in cell.attempts]
    took = max(ends, default=0.0) + 0.8
    failed, broken = count[Outcome.FAILED], count[Outcome.ERROR]
    verdict = Outcome.FAILED if failed else Outcome.ERROR if broken else Outcome.PASSED
    values: dict[str, Any] = {
        "id": "20251122T081307Z-4be1f0",
        "started_at": START,
        "finished_at": START + timedelta(seconds=took),
        "duration_seconds": round(took, 3),
        "verdict": verdict,
        "reason": f"All {len(cells)} cells passed."
        if verdict is Outcome.PASSED
        else f"{failed} failed, {broken} in error.",
        "exit_code": {Outcome.PASSED: 0, Outcome.FAILED: 1}.get(verdict, 3),
        "axes": {"variant": VARIANTS, "arch": ARCHES},
        "settings": {
            "workers": SettingValue(value=2, source="default"),
            "timeout": SettingValue(value="10m", source="file"),
            "fail_fast": SettingValue(value=False, source="default"),
            "ref": SettingValue(value="1.58.2", source="command line"),
            "model": SettingValue(value="openai/gpt-4o", source="environment"),
        },
        "subject": "ghcr.io/openhands/agent-server:1.58.2-{variant}",
        "matrix_file": "matrix.yaml",
        "command": ["e2e-matrix", "run", "--ref", "1.58.2"],
        "engine": EngineFacts(
            name="Docker Engine",
            version="20.10.24+dfsg1",
            api_version="1.41",
            platform="linux/amd64",
            operating_system="Debian GNU/Linux 12 (bookworm)",
            kernel="6.1.0-18-amd64",
            storage_driver="overlay2",
            cpus=2,
            memory_bytes=8_330_000_000,
        ),
        "llm": Llm(kind="stand-in", model="openai/gpt-4o"),
        "program_version": "0.1.0",
        "emulated_cpu": "neoverse-n1",
        "workers": 2,
        "totals": Totals(
            cells=len(cells),
            **{outcome.value: number for outcome, number in count.items()},
            cost_usd=sum(costs, Decimal(0)) if costs else None,
        ),
    }
    return Results(run=Run(**(values | changed)), cells=cells)


def six_passed() -> Results:
    """Three variants on two platforms, arm64 emulated, on two workers."""
    plan = [("python", "amd64", 0, 0.2), ("java", "amd64", 1, 0.2), ("golang", "amd64", 0, 11.6)]
    plan += [("python", "arm64", 1, 11.7), ("java", "arm64", 0, 23.0), ("golang", "arm64", 1, 64.1)]
    cells = [
        cell(variant, arch, [attempt(f"{variant}-{arch}", arch == "arm64", worker, offset)])
        for variant, arch, worker, offset in plan
    ]
    return run(sorted(cells, key=lambda one: (VARIANTS.index(one.axes["variant"]), one.axes["arch"])))


LOG = """\
2025-11-22 08:13:31 INFO  uvicorn.error        Started server process [7]
2025-11-22 08:13:31 INFO  openhands.server     deferred init: waiting for POST /api/init
2025-11-22 08:13:36 INFO  openhands.server     init accepted
2025-11-22 08:13:37 ERROR openhands.sdk.llm    litellm.AuthenticationError: OpenAIException: Incorrect key
Traceback (most recent call last):
  File "/agent-server/openhands/sdk/llm/llm.py", line 512, in completion
    response = self._transport_call(messages=messages, **call_kwargs)
  File "/agent-server/openhands/sdk/llm/llm.py", line 644, in _transport_call
    raise AuthenticationError(message)
2025-11-22 08:13:37 WARN  openhands.sdk.agent  conversation 5f0c ended: error
"""


def broken() -> Results:
    """Failed twice, an error, unsupported, cancelled, and one that passed at the second attempt."""
    flaky = [
        attempt(
            "python-amd64",
            False,
            0,
            0.2,
            fail_at="gate",
            outcome=Outcome.FAILED,
            cause=Cause.ASSERTION,
            message="1 of 26 gated routes answers while the server is dormant",
            seconds=1.4,
        ),
        attempt("python-amd64", False, 0, 1.9, number=2),
    ]
    conversation = attempt(
        "java-amd64",
        False,
        1,
        0.2,
        fail_at="terminal",
        cause=Cause.CONVERSATION_ERROR,
        message="the conversation ended in error: LLMAuthenticationError: Incorrect API key provided",
        expected="execution_status finished",
        got="execution_status error",
        log=LOG,
        seconds=1.9,
    )
    contract = attempt(
        "java-arm64",
        True,
        0,
        13.2,
        fail_at="gate",
        cause=Cause.ASSERTION,
        message="GET /api/conversations/search answered 200 while the server was dormant",
        expected="503 Service Unavailable",
        got="200 OK",
        detail='{"items": [], "next_page_id": null}',
        log=LOG[:180],
        seconds=0.7,
    )
    # A wrong refusal does not end the scenario: one attempt may show several faults.
    second = contract.steps[-2].model_copy(
        update={
            "name": "refusals",
            "title": "Init without a key, with a wrong one or a bad field is refused",
            "message": "POST /api/init without a key answered 500",
            "expected": "401",
            "got": "500",
            "detail": None,
        }
    )
    contract = contract.model_copy(update={"steps": [*contract.steps[:-1], second, contract.steps[-1]]})
    lost = attempt(
        "golang-amd64",
        False,
        1,
        11.2,
        fail_at="pull",
        outcome=Outcome.ERROR,
        cause=Cause.REGISTRY_UNREACHABLE,
        message="ghcr.io did not answer within 30 s (3 tries)",
        seconds=30.1,
    )
    cells = [
        cell("python", "amd64", flaky),
        cell("python", "arm64", [attempt("python-arm64", True, 1, 42.0)]),
        cell("java", "amd64", [conversation]),
        cell("java", "arm64", [contract]),
        cell("golang", "amd64", [lost]),
        cell(
            "golang",
            "arm64",
            [],
            outcome=Outcome.UNSUPPORTED,
            cause=Cause.PLATFORM_UNSUPPORTED,
            message="this engine cannot run linux/arm64",
        ),
        cell(
            "rust",
            "amd64",
            [],
            outcome=Outcome.CANCELLED,
            cause=Cause.INTERRUPTED,
            message="stopped on request",
        ),
    ]
    return run(
        cells,
        axes={"variant": [*VARIANTS, "rust"], "arch": ARCHES},
        reason="2 of 7 cells passed; 2 failed, 1 not decided for want of infrastructure.",
        llm=Llm(kind="provider", model="anthropic/claude-sonnet-4-5", base_url="https://llm.example.org"),
        command=["e2e-matrix", "run", "--ref", "1.58.2", "--only", "*-*"],
        totals=Totals(
            cells=7,
            passed=2,
            failed=2,
            error=1,
            unsupported=1,
            cancelled=1,
            cost_usd=2 * COST,
            cost_unknown_cells=1,
        ),
    )


HOSTILE = (
    "<script>window.pwned=1;fetch('https://evil.example/x')</script><img src=x onerror=window.pwned=1>"
    "</pre></details></summary>\"'><svg/onload=window.pwned=1> javascript:alert(1) [x](javascript:alert(1)) "
    "| a | b |\n|---|---|\n``` \n````\n~~~\n@everyone @openhands/maintainers fixes #1 GH-2 a/b#3 "
    "https://evil.example www.evil.example me@evil.example \u202egnp.exe\u202c \x1b[31mred\x1b[0m \x00 "
    "::error file=x::y {{ 7*7 }} {% raw %} &amp; --> <!-- ]]> \n# heading\n- item\n> quote\n"
)


def hostile() -> Results:
    """A server that writes everything a page or a comment could trip over, wherever it can write."""
    bad = attempt(
        "python-amd64",
        False,
        0,
        0.2,
        fail_at="answer",
        cause=Cause.ASSERTION,
        message=HOSTILE,
        expected=HOSTILE,
        got=HOSTILE,
        detail=HOSTILE + "x" * 1_000_000,
        log=HOSTILE * 20,
    )
    facts = [step.model_copy(update={"facts": {HOSTILE: [HOSTILE]}, "title": HOSTILE}) for step in bad.steps]
    evil = Server(
        version=HOSTILE,
        sdk_version=HOSTILE,
        build_git_sha=HOSTILE,
        build_git_ref=HOSTILE,
        python_version=HOSTILE,
    )
    bad = bad.model_copy(
        update={"steps": facts, "server": evil, "machine": HOSTILE, "image_labels": {HOSTILE: HOSTILE}}
    )
    labels = image("python", "amd64").model_copy(
        update={"labels": {HOSTILE: HOSTILE}, "reference": HOSTILE, "arch_tag": HOSTILE, "pinned": HOSTILE}
    )
    return run(
        [
            cell("python", "amd64", [bad], image=labels, server=evil),
            cell("java", "amd64", [], id=HOSTILE, outcome=Outcome.ERROR, cause=None, message=HOSTILE),
            cell("golang", "arm64", [attempt("golang-arm64", True, 1, 0.3)]),
        ],
        axes={"variant": [*VARIANTS, HOSTILE], "arch": ARCHES, HOSTILE: [HOSTILE]},
        reason=HOSTILE,
        command=["e2e-matrix", "run", HOSTILE],
        matrix_file=HOSTILE,
        settings={HOSTILE: SettingValue(value={HOSTILE: HOSTILE}, source=HOSTILE)},
        llm=Llm(kind="provider", model=HOSTILE, base_url=HOSTILE),
    )


def large(cells: int = 240) -> Results:
    """A third axis and many cells, every seventh failed: what a real nightly may become."""
    tags = [f"1.{minor}.0" for minor in range(-(-cells // 6))]
    made: list[Cell] = []
    for index in range(cells):
        variant, arch, tag = VARIANTS[index % 3], ARCHES[index // 3 % 2], tags[index // 6]
        name = f"{variant}-{arch}-{tag}"
        failure: dict[str, Any] = {}
        if index % 7 == 0:
            failure = {"fail_at": "gate", "cause": Cause.ASSERTION, "message": "a gated route answered 200"}
            failure |= {"expected": "503", "got": "200", "log": LOG}
        one = attempt(name, arch == "arm64", index % 4, round(index // 4 * 61.0, 1), **failure)
        axes = {"variant": variant, "arch": arch, "tag": tag}
        made.append(cell(variant, arch, [one], id=name, axes=axes))
    return run(made, axes={"variant": VARIANTS, "arch": ARCHES, "tag": tags}, workers=4)


def with_log(results: Results, cell_id: str, printed: int, dropped: int, *, complete: bool) -> Results:
    """The run with this said of the log of one cell's only attempt."""
    said = {"log_bytes": printed, "log_dropped_bytes": dropped, "log_complete": complete}
    cells = [
        cell.model_copy(update={"attempts": [cell.attempts[0].model_copy(update=said)]})
        if cell.id == cell_id
        else cell
        for cell in results.cells
    ]
    return results.model_copy(update={"cells": cells})
