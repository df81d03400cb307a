"""Random text of what formats trip over, and a run that says a text wherever anybody else than us can."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from e2e_matrix.failures import Cause, Outcome
from e2e_matrix.results import Llm, Results, Server, SettingValue
from support import report_samples as samples
from support import script_samples

# Random text rarely holds what matters: build it from what matters.
TEXTS = st.lists(
    st.sampled_from(["]]>", "<![CDATA[", "<!--", "-->", "&amp;", "&#0;", "<a b='c'>", '"', "'", "\\"])
    | st.sampled_from(["</failure>", "\x00", "\x08", "\x1b[31m", "\x1b]0;t\x07", "\x85", "\x9b2J", "\ufffe"])
    | st.sampled_from(["\uffff", "\U0001fffe", "\ud800", "\udfff", "\u202e", "\u200b", "\ufeff", "\u2028"])
    | st.sampled_from(["\U0010ffff", "e\u0301\u0301\u0301", "\n", "\r", "\r\n", "\t", " ", "%0A", "%25", "%"])
    | st.sampled_from([":", ",", "::", "##[", "]", "=", "<<", "::error::x", "\n ::stop-commands::t"])
    | st.sampled_from(["::set-output name=verdict::passed", "##[add-mask]x", "verdict=passed", "x<<EOF"])
    | st.sampled_from(["[[ATTACHMENT|/etc/passwd]]", "[[attachment|x]]"])
    | st.text(st.characters(exclude_categories=()), max_size=8),
    max_size=20,
).map("".join)  # fmt: skip


def saying(text: str) -> Results:
    """Cells that failed, were flaky, never started, were not run and ran a script: they all say ``text``."""
    told: dict[str, Any] = {"message": text, "expected": text, "got": text, "detail": text, "log": text}
    broken = samples.attempt("a", False, 0, 0.2, fail_at="answer", cause=Cause.ASSERTION, **told)
    server = Server(
        version=text, sdk_version=text, build_git_sha=text, build_git_ref=text, python_version=text
    )
    steps = [
        step.model_copy(update={"name": text, "title": text, "facts": {text: text}}) for step in broken.steps
    ]
    broken = broken.model_copy(
        update={"steps": steps, "server": server, "folder": text[:100], "log_bytes": 1}
    )
    passed = samples.attempt("a", False, 0, 9.2, number=2)
    image = samples.image("python", "amd64").model_copy(
        update={"reference": text, "digest": text, "arch_tag": text, "pinned": text, "labels": {text: text}}
    )
    script = script_samples.script_run(
        path=text, revision=text, sdk_version=text, terminal_status=text, output_excerpt=text
    )
    crashed = script_samples.script_attempt(
        "x", script, outcome=Outcome.FAILED, cause=Cause.SCRIPT_FAILED, message=text, log_excerpt=text
    )
    engine = samples.six_passed().run.engine.model_copy(
        update=dict.fromkeys(("name", "version", "platform", "operating_system", "kernel"), text)
    )
    named = {"axes": {"variant": text, text: text}, "scenario": text}
    return samples.run(
        [
            samples.cell("a", "amd64", [broken], id=text, image=image, server=server, **named),
            samples.cell("a", "amd64", [broken, passed], id=text, platform=text),
            samples.cell("a", "amd64", [], id=text, outcome=Outcome.ERROR, message=text),
            samples.cell("a", "amd64", [], id=text, outcome=Outcome.NOT_RUN, message=text),
            samples.cell("a", "amd64", [crashed], id=f"{text} ", **named),
        ],
        axes={"variant": [text]},
        reason=text,
        subject=text,
        matrix_file=text,
        command=["e2e-matrix", "run", text],
        settings={"ref": SettingValue(value=text, source=text), text: SettingValue(value=text, source=text)},
        llm=Llm(kind="provider", model=text, base_url=text),
        engine=engine,
    )


FLOODS = {
    "a long line": "x" * 1_000_000,
    "line ends": "\n" * 1_000_000,
    "escapes": "\x1b[31m" * 200_000,
    "markup": "&<>\"'" * 200_000,
    "overrides": "\u202e" * 1_000_000,
    "marks": "e" + "\u0301" * 1_000_000,
    "colons": "\n::" * 300_000,
}


def many_broken(cells: int = 1000) -> Results:
    """Cells that failed three times each, with 30 kB of everything each time."""
    log = ("<b>& " * 30 + "\n") * 200
    made = []
    for index in range(cells):
        name = f"python-amd64-{index}"
        told: dict[str, Any] = {"message": log, "expected": log, "got": log, "detail": log, "log": log}
        attempts = [
            samples.attempt(name, False, 0, 0.2, number, fail_at="answer", cause=Cause.ASSERTION, **told)
            for number in (1, 2, 3)
        ]
        made.append(samples.cell("python", "amd64", attempts, id=name))
    return samples.run(made)
