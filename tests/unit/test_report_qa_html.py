"""The QA report as a page: nothing from outside becomes markup, and everything is in it."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from e2e_matrix.assessment import Question, expectations
from e2e_matrix.report.qa import QA, Api, ApiLine, build
from e2e_matrix.report.qa_html import MOST_OPERATIONS, MOST_TOLD, page, render
from support import report_samples as samples
from support.hostile_results import HOSTILE_TEXT, replaced
from support.qa_samples import keep, qa, with_keys, without_keys


class _Tags(HTMLParser):
    """The tags with the names of their attributes; <wbr> comes where a long name may be broken."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, tuple[str, ...]]] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag != "wbr":
            self.found.append((tag, tuple(name for name, _ in attrs)))


def text_of(html: str) -> str:
    body = re.sub(r"<(style|script)>.*?</\1>", "", html, flags=re.DOTALL)
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", "", body.replace("<wbr>", "")))


def test_everything_that_a_reader_looks_for_is_there() -> None:
    question = Question("Enforce the session keys", expectations(["fixed:*-amd64"]))
    text = text_of(page(qa(without_keys(), with_keys(), question)))
    for said in (
        "Enforce the session keys PASS Fixed: 3 cells; newly failing: none; same: 1 cell.",
        "subjectghcr.io/x/server:1.29.0-{variant}ghcr.io/x/server:1.29.2-{variant}",
        "functional verification4 passed.",
        "fixed python-amd64, java-amd64, golang-amd64",
        "session-keys A request without the session key is refused failed 3.00 spassed 0.03 s",
        "Baseline, session-keys: GET /api/conversations/search without a session key",
        "Expected401 Got200",
        "Run the baselinee2e-matrix run",
        "Run the candidatee2e-matrix run",
        "The other 1 cell, of which there is no news",
        "The REST APIs were not compared: no description was kept",
    ):
        assert said in text


def test_of_a_run_alone_there_is_one_side() -> None:
    html = page(build(samples.broken()))
    assert "Baseline" not in text_of(html)
    assert "Not compared: there is no baseline." in text_of(html)
    assert 'id="measures"' not in html
    assert "No cell was planned." in text_of(page(build(samples.run([]))))


def test_the_api_and_an_empty_list_of_gaps_are_said() -> None:
    report = qa(without_keys(), with_keys())
    api = Api([ApiLine("GET <x>")], [ApiLine("POST y")], [ApiLine("java differs")])
    told = QA(**{**vars(report), "gaps": [], "api": api})
    text = text_of(page(told))
    for said in ("Breaking GET &lt;x&gt;", "Images that differ java differs", "1 compatible changePOST y"):
        assert said in text
    assert "Nothing is known to be left unverified." in text


def test_a_change_of_the_api_unfolds_its_operations_but_not_without_end() -> None:
    report = qa(without_keys(), with_keys())
    many = tuple(f"GET /<{number}>" for number in range(MOST_OPERATIONS + 3))
    lines = [ApiLine("one", ("GET /one",)), ApiLine("many", many), *[ApiLine("more", many)] * MOST_TOLD]
    html = page(QA(**{**vars(report), "api": Api(lines, [], [])}))
    part = html[html.index('id="api-title"') :]
    assert part.count("<summary>All 103 operations</summary>") == MOST_TOLD - 1
    assert part.count('<ul class="operations">') == MOST_TOLD - 1
    first = part[part.index('<ul class="operations">') : part.index("</details>")]
    assert first.count("<li>") == MOST_OPERATIONS + 1
    assert "&lt;0&gt;" in first
    assert "<li>And 3 more.</li>" in first
    assert "/one" not in part


def test_what_else_is_there_is_linked(tmp_path: Path) -> None:
    html = render(samples.broken(), keep(tmp_path, samples.broken()))
    assert re.findall(r'<a href="([^#"]*)"', html) == ["results.json", "report.html", "report.md"]


def test_what_is_too_much_is_counted() -> None:
    told = qa(samples.large(1002), samples.large(1002))
    html = page(told)
    assert len(html) < 1_000_000
    assert "558 more are in results.json." in text_of(html)


@given(st.lists(HOSTILE_TEXT, min_size=1, max_size=12))
@settings(max_examples=40, deadline=None)
def test_nothing_from_outside_becomes_markup(words: list[str]) -> None:
    def tags(texts: list[str]) -> list[tuple[str, tuple[str, ...]]]:
        results = replaced(samples.broken(), texts)
        plain = replaced(samples.broken(), texts).model_copy(update={"cells": results.cells[:3]})
        return _Tags(page(qa(plain, results, Question("".join(texts) or "x")))).found

    assert tags(words) == tags(["x"])
