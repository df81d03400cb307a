"""The file of replies: what it says is answered, and every slip in it is told at once with its place."""

from __future__ import annotations

import json
import re
import textwrap
from pathlib import Path

import pytest

from e2e_matrix.errors import BadInput
from e2e_matrix.llm import wire
from e2e_matrix.llm.replies import OTHER_ANSWER, Answer, Asked, Call, Replies, Usage
from e2e_matrix.llm.replies_file import load_replies
from e2e_matrix.matrix_load import load_matrix
from support.matrix_files import SCENARIOS, write
from support.replies import documented_replies


def load(folder: Path, text: str) -> Replies:
    path = folder / "replies.yaml"
    path.write_text(textwrap.dedent(text))
    return load_replies(path)


def said(replies: Replies, text: str, turns: int = 0, output: str = "") -> Answer:
    return replies.answer(Asked(text, turns, output, ("terminal", "file_editor")))


def problems(folder: Path, text: str) -> list[str]:
    with pytest.raises(BadInput) as caught:
        load(folder, text)
    return [f"{p.line}:{p.column} {p.message} | {p.hint}" for p in caught.value.problems]


def test_the_first_rule_that_matches_answers_and_its_groups_fill_the_fields(tmp_path: Path) -> None:
    replies = load(
        tmp_path,
        r"""
        - when: '(?i)weather in (\w+)(?: on (?P<day>\w+))?'
          reply: "{1}, {day}: {{1}} ${HOME} {'a': 1} {0}"
        - when: weather
          reply: 42
        """,
    )
    answer = said(replies, "The Weather in Rome on monday")
    assert answer.text == "Rome, monday: {1} ${HOME} {'a': 1} Weather in Rome on monday"
    assert said(replies, "weather in Rome").text.startswith("Rome, : ")
    assert said(replies, "the weather").text == "42"
    assert said(replies, "else").text == OTHER_ANSWER
    assert said(replies, "Run `ls`").calls == (Call("terminal", {"command": "ls"}),)


def test_turns_are_taken_one_after_the_other_and_then_the_last_reply(tmp_path: Path) -> None:
    replies = load(
        tmp_path,
        """
        - when: write (.+)
          do:
            - call: file_editor
              arguments: {command: create, path: "/tmp/{1}", view_range: [1, 2.5, true, null, "{1}"]}
              repeat: 2
            - calls:
                - {call: terminal, arguments: {command: "cat {1}"}}
                - call: finish
              usage: {completion: 7}
            - reply: "{output}!"
          usage: {prompt: 100, completion: 10}
        - when: once
          call: terminal
        """,
    )
    created = Call(
        "file_editor", {"command": "create", "path": "/tmp/x", "view_range": [1, 2.5, True, None, "x"]}
    )
    answers = [said(replies, "write x", turns, "told") for turns in range(6)]
    both = (Call("terminal", {"command": "cat x"}), Call("finish", {}))
    assert [answer.calls for answer in answers] == [(created,), (created,), both, (), (), ()]
    assert [answer.text for answer in answers[3:]] == ["told!"] * 3
    usages = [Usage(100, 10), Usage(100, 10), Usage(None, 7), Usage(100, 10)]
    assert [answer.usage for answer in answers[:4]] == usages
    assert said(replies, "once", 0).calls == (Call("terminal", {}),)
    assert said(replies, "once", 1) == Answer(OTHER_ANSWER)


def test_fixed_usage_and_parallel_calls_are_what_the_wire_has(tmp_path: Path) -> None:
    replies = load(
        tmp_path, "- calls: [{call: a}, {call: b, arguments: {ä: 1}}]\n  usage: {prompt: 9, completion: 8}"
    )
    tools = [{"type": "function", "function": {"name": name}} for name in "ab"]
    body = {"model": "m", "messages": [{"role": "user", "content": "x"}], "tools": tools}
    exchange = wire.understand(json.dumps(body).encode(), "messages", replies)
    assert [(call.name, call.arguments) for call in exchange.calls] == [("a", "{}"), ("b", '{"ä": 1}')]
    assert len({call.id for call in exchange.calls}) == 2
    assert (exchange.prompt_tokens, exchange.completion_tokens) == (9, 8)
    deltas = [data["choices"][0]["delta"] for _, data in wire.chat_events(exchange)]
    begun = [call for delta in deltas for call in delta.get("tool_calls", []) if "id" in call]
    assert [(call["index"], call["function"]["name"]) for call in begun] == [(0, "a"), (1, "b")]
    added = [data for name, data in wire.response_events(exchange) if name == "response.output_item.added"]
    assert [(event["output_index"], event["item"]["name"]) for event in added] == [(0, "a"), (1, "b")]


def test_a_tool_that_the_request_does_not_offer_is_a_bad_request_that_names_both(tmp_path: Path) -> None:
    replies = load(tmp_path, "\n- when: go\n  call: termnal\n")
    body = {"model": "m", "messages": [{"role": "user", "content": "go"}]}
    tools = [{"type": "function", "function": {"name": name}} for name in ("terminal", "finish")]
    told = r"^replies.yaml:2 calls the tool 'termnal'; .*: terminal, finish$"
    with pytest.raises(wire.BadRequest, match=told) as caught:
        wire.understand(json.dumps(body | {"tools": tools}).encode(), "messages", replies)
    assert caught.value.param == "tools"


def test_every_slip_is_told_at_once_with_its_place(tmp_path: Path) -> None:
    assert problems(
        tmp_path,
        r"""
        - when: (x
          reply: "{1}"
        - wen: x
          reply: a
        - hello
        - when: (?P<output>a)(?P<b>b)
          reply: "{c} {3} {b} {2} {output}"
          call: terminal
        - when: x
          do:
            - reply: {a: b}
            - {repeat: 0, call: t, arguments: {a: .nan, b: ["{9}"]}}
            - {}
            - usage: {prompt: -1, cost: 3}
            - calls: []
            - calls: [{arguments: {}}]
            - do: [reply: a]
          repeat: 3
        - when: x
        - do: []
        - when: y
          arguments: {a: b}
          reply: !x y
        """,
    ) == [
        "2:9 when: no regular expression: missing ), unterminated subpattern at position 0"
        " | Python's syntax; a backslash before ( [ . * ? takes it as it is",
        "4:3 unknown key 'wen' | did you mean 'when'?",
        "6:3 a rule must be a mapping, not 'hello'"
        " | its keys: when, reply, call, arguments, calls, repeat, usage, do",
        "7:9 when: the name 'output' is taken: it is what tools gave | rename the group",
        "8:10 {3}: `when` has no such group | known here: output, b, 0, 1, 2; {{3}} is the text {3} itself",
        "8:10 {c}: `when` has no such group | known here: output, b, 0, 1, 2; {{c}} is the text {c} itself",
        "9:3 call: beside 'reply' | a turn either replies or calls: write one turn for each below `do`",
        "12:14 reply: must be text, not a mapping | put quotes around text with braces",
        "13:16 repeat: must be a whole number from 1 to 10000, not '0' | ",
        "13:43 JSON has no number .nan | put quotes around it",
        "13:53 {9}: `when` has no such group | known here: output, 0; {{9}} is the text {9} itself",
        "14:7 a turn must be a mapping, not an empty one"
        " | its keys: reply, call, arguments, calls, repeat, usage",
        "15:7 says nothing | add `reply: TEXT`, or `call: TOOL` with `arguments`",
        "15:23 prompt: must be a whole number from 0 to 1000000000, not '-1' | ",
        "15:27 unknown key 'cost' | known here: prompt, completion",
        "16:14 calls: must be a list, not an empty one | write `- {call: TOOL, arguments: {...}}`",
        "17:15 names no tool | add `call: TOOL`",
        "18:7 unknown key 'do' | known here: reply, call, arguments, calls, repeat, usage",
        "19:3 repeat: beside `do` | write it in a turn below `do`",
        "20:3 says nothing | add `reply: TEXT`, or `call: TOOL` with `arguments`",
        "21:3 a rule without `when` answers everything: those below are never used"
        " | add `when: REGEX`, or make it the last one",
        "21:7 do: must be a list of turns, not an empty one | write `- reply: TEXT`",
        "23:3 arguments: of no call | add `call: TOOL`",
        "24:10 the tag !x means nothing here | remove it",
    ]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "1:1 the file is empty | write a rule, such as"),
        ("[]", "1:1 must be a list of rules, not an empty one | begin each rule with"),
        ("when: a\nreply: b", "1:1 must be a list of rules, not a mapping | begin each rule with"),
        ("- when: 'a{99999999999999999999}'\n  reply: b", "1:9 when: no regular expression: "),
        (f"- when: {'(' * 500}{')' * 500}\n  reply: b", "1:9 when: no regular expression: "),
        ("- {reply: a", "1:12 not YAML: "),
    ],
)
def test_what_is_no_file_of_rules_says_what_to_write(tmp_path: Path, text: str, problem: str) -> None:
    [found] = problems(tmp_path, text)
    assert found.startswith(problem)


def test_the_matrix_is_refused_with_the_slips_of_both_files(tmp_path: Path) -> None:
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "replies.yaml").write_text("- rply: a\n")
    matrix = write(tmp_path, "matrix: {arch: [amd64, amd64]}\nllm: {replies: more/replies.yaml}\n")
    with pytest.raises(BadInput) as caught:
        load_matrix(matrix, {}, SCENARIOS)
    places = [(Path(p.file).name, p.line) for p in caught.value.problems]
    assert set(places) == {("matrix.yaml", 1), ("replies.yaml", 1)}
    write(tmp_path, "matrix: {arch: [amd64]}\nllm: {replies: none.yaml}\n")
    with pytest.raises(BadInput, match=rf"{re.escape(str(tmp_path))}/none.yaml: no such file\n.*relative to"):
        load_matrix(matrix, {}, SCENARIOS)


def test_the_example_of_the_docs_says_what_it_says_that_it_says() -> None:
    replies = documented_replies()
    assert said(replies, "What is the capital of France?").text == "I do not know France."
    first, second, third = (said(replies, "Write hello into x.txt.", n, "6") for n in range(3))
    created = {"command": "create", "path": "/workspace/x.txt", "file_text": "hello\n"}
    assert first.calls == (Call("file_editor", created),)
    assert [call.tool for call in second.calls] == ["terminal", "think"]
    assert (third.text, third.usage) == ("Done. 6", Usage(1000, 50))
    assert [call.tool for n in range(4) for call in said(replies, "Wait", n).calls] == [
        *["terminal"] * 3,
        "finish",
    ]
    assert said(replies, "Wait", 4).text == OTHER_ANSWER
