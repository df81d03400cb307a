"""Hostile text in Markdown, read back with a CommonMark parser."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markdown_it.token import Token

from e2e_matrix.report.escape import code, excerpt, fact, fence, prose, relative_link
from support.report_samples import HOSTILE

MARKDOWN = MarkdownIt("commonmark").enable(["table", "strikethrough"])
# Random text rarely holds what matters: build it from what matters.
PIECES = st.lists(
    st.sampled_from(["`", "``", "```", "~~~", "|", "\\", "<b>", "&lt;", "*", "_", "[x](y)", "![", "](", "#"])
    | st.sampled_from(["\n", "\r\n", "\t", " ", "- ", "1. ", "> ", "# ", "===", "---", "http://e.x"])
    | st.sampled_from(["GH-1", "a@b.c", "fixes #2", "@a", "www.e.x", "\x1b[31m", "\u202e", "\x00", "\ud800"])
    | st.text(max_size=6),
    max_size=20,
).map("".join)  # fmt: skip
REFERENCES = re.compile(r"@\w|#\d|\bGH-\d|://|\bwww\.", re.IGNORECASE)


def flat(markdown: str) -> list[Token]:
    tokens = MARKDOWN.parse(markdown)
    return [part for token in tokens for part in [token, *(token.children or [])]]


@given(PIECES)
@settings(max_examples=200, deadline=None)
def test_prose_is_one_paragraph_of_plain_text_that_refers_to_nothing(text: str) -> None:
    kinds = {token.type for token in flat(prose(text))}
    assert kinds <= {"paragraph_open", "inline", "text", "text_special", "paragraph_close"}
    shown = "".join(token.content for token in flat(prose(text)) if token.type in {"text", "text_special"})
    assert not REFERENCES.search(shown)
    assert not re.search(r"\b[0-9a-f]{7,40}\b", shown)


@given(PIECES)
@settings(max_examples=200, deadline=None)
def test_code_is_one_span_in_a_table_s_cell(text: str) -> None:
    table = f"| a | b |\n| --- | --- |\n| {code(text)} | end |\n"
    tokens = flat(table)
    assert [token.type for token in tokens].count("td_open") == 2
    assert [token.type for token in tokens].count("code_inline") == 1
    assert [token.content for token in tokens if token.type == "text"] == ["a", "b", "end"]


@given(PIECES)
@settings(max_examples=200, deadline=None)
def test_a_fence_holds_all_of_its_text(text: str) -> None:
    inside = excerpt(text)
    tokens = flat(f"{fence(inside)}\n\nafter\n")
    assert [token.type for token in tokens][:2] == ["fence", "paragraph_open"]
    assert tokens[0].content == f"{inside}\n"
    assert tokens[-1].type == "paragraph_close"


def test_prose_reads_as_it_was_written() -> None:
    written = "1. it's *not* `ok`: a|b <c> & [d](e) #2 @me https://x.example 1.58.2"
    shown = "".join(token.content for token in flat(prose(written)) if token.type in {"text", "text_special"})
    assert shown.replace("\u200b", "") == written


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
