"""Hostile text in Markdown, read back as GitHub reads it."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings

from e2e_matrix.report.escape import code, excerpt, fact, fence, prose, relative_link
from support.github_markdown import shown
from support.hostile_results import HOSTILE_TEXT
from support.report_samples import HOSTILE

PLACES = [
    "{}",
    "- x: {}",
    "## {}",
    "| a |\n| --- |\n| {} |",
    "**x** {}.",
    "`x`: {}",
    "<details>\n\n{}\n\n</details>",
]


@given(HOSTILE_TEXT)
@example("_www.evil.example and a@-b.c and JIRA-1")
@example("0123456789abcdef" * 4)
@example("0123456789abcdef"[:6] + "f" * 40)
@settings(max_examples=300, deadline=None)
def test_prose_is_plain_text_that_refers_to_nothing_wherever_it_stands(text: str) -> None:
    for place in PLACES:
        page = shown(place.format(prose(text)))
        assert page.problems == []
        assert page.skeleton == shown(place.format("plain")).skeleton or not prose(text)


@given(HOSTILE_TEXT)
@settings(max_examples=300, deadline=None)
def test_code_is_one_span_also_in_a_table_s_cell(text: str) -> None:
    for place in PLACES:
        page = shown(place.format(code(text)))
        assert page.problems == []
        assert page.skeleton == shown(place.format("`plain`")).skeleton


@given(HOSTILE_TEXT)
@settings(max_examples=300, deadline=None)
def test_a_fence_holds_all_of_its_text(text: str) -> None:
    page = shown(f"{fence(excerpt(text))}\n\nafter\n")
    assert page.problems == []
    assert page.skeleton == ["pre", "code", "/code", "/pre", "p", "/p"]


@pytest.mark.parametrize(
    ("written", "harm"),
    [
        ("thanks to @openhands", "mention"),
        ("fixes #12", "closing keyword"),
        ("see GH-12", "issue"),
        ("CVE-2024-12345", "advisory"),
        ("GHSA-aaaa-bbbb-cccc", "advisory"),
        ("at 3f1c2ab9d0", "commit"),
        ("https://evil.example/", "address"),
        ("_www.evil.example", "address"),
        ("me@evil.example", "address"),
        (":tada:", "emoji"),
        ("$x^2$", "formula"),
        ("<img src=x>", "tag"),
        ("<!-- x -->", "comment"),
        ("[x](y)", "link"),
        ("`#ff0000`", "colour"),
        ("x[^1]\n\n[^1]: y", "tag"),
        ("```mermaid\ngraph TD\n```", "attribute"),
        ("a\u202eb", "character"),
    ],
)
def test_the_check_itself_sees_what_would_do_harm(written: str, harm: str) -> None:
    assert [problem for problem in shown(written).problems if problem.startswith(harm)]
    assert shown(prose(written)).problems == []


@pytest.mark.parametrize("colour", ["#fff", "#ff0000", "rgb(1, 2, 3)", "HSL(1, 2%, 3%)"])
def test_a_colour_in_code_is_only_its_name(colour: str) -> None:
    assert shown(code(colour)).problems == []
    assert shown(code(colour)).codes == [f" {colour} "]


@pytest.mark.parametrize(
    "written",
    [
        "1. it's *not* `ok`: a|b <c> & [d](e) #2 @me https://x.example 1.58.2 :tada: $1 or $2",
        "GH-1 CVE-2024-1 deadbeefdeadbeef _a_ ~~b~~ &amp; \\* ![x] ^1 - + =",
        "- item",
        "+1",
        "=== x",
    ],
)
def test_prose_reads_as_it_was_written(written: str) -> None:
    assert shown(prose(written)).text == written


def test_code_reads_as_it_was_written() -> None:
    written = "a ``b`` `c` <d> & \\ * $x$ @me #1 e\\"
    assert shown(code(written)).codes == [written]


def test_an_excerpt_keeps_the_last_lines_and_cuts_wide_ones() -> None:
    text = "\n".join(f"line {number}" for number in range(500)) + "\n" + "x" * 1_000_000 + "\nlast"
    lines = excerpt(text, lines=4, width=50).splitlines()
    assert lines[0] == "… 498 more lines before"
    assert lines[1:3] == ["line 498", "line 499"]
    assert len(lines[3]) <= 51
    assert lines[4] == "last"


def test_an_excerpt_holds_nothing_that_moves_or_hides() -> None:
    shown = excerpt(HOSTILE * 3)
    assert not set(shown) & {"\x00", "\x1b", "\u202e", "\u202c"}
    assert "red" in shown


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        ("bytes", 318_402_117, "318 MB"),
        ("wait_seconds", 0.25, "0.25 s"),
        ("status", 200, "200"),
        ("streamed", True, "yes"),
        ("error", None, "none"),
        ("routes", ["/a", {"b": 1}], '["/a", {"b": 1}]'),
        ("text", "two\nlines", "two lines"),
    ],
)
def test_facts_in_a_few_words(name: str, value: object, shown: str) -> None:
    assert fact(name, value) == shown


@pytest.mark.parametrize(
    ("folder", "link"),
    [
        ("cells/a b/attempt-1", "cells/a%20b/attempt-1/server.log"),
        ("javascript:alert(1)", "javascript%3Aalert%281%29/server.log"),
        ("../..", None),
        ("/etc", None),
        ("//evil.example", None),
        ("a/../../b", None),
    ],
)
def test_a_link_stays_below_the_report(folder: str, link: str | None) -> None:
    assert relative_link(folder, "server.log") == link
