"""What the contract server is told, how it spells numbers, and that the docs have all its faults."""

from __future__ import annotations

import base64
import json
import urllib.parse
from decimal import Decimal
from pathlib import Path

import pytest

from contract_server import boot, exact, faults, routes
from contract_server.faults import Fault, Told

ROOT = Path(__file__).parents[2]


def test_the_table_in_the_docs_is_current() -> None:
    hint = "run `PYTHONPATH=images/contract-server python -m contract_server.faults` and commit docs/"
    assert faults.table() in (ROOT / "docs" / "images.md").read_text(), hint


def test_the_table_is_put_in_the_place_of_an_older_one(tmp_path: Path) -> None:
    paper = tmp_path / "paper.md"
    paper.write_text("before\n\n| fault | what |\n|---|---|\n| old | x |\n\nafter\n")
    faults.write_table(paper)
    assert paper.read_text() == f"before\n\n{faults.table()}\nafter\n"


def test_every_fault_has_a_name_and_a_meaning_of_its_own() -> None:
    assert len({fault.title for fault in Fault}) == len({fault.meaning for fault in Fault}) == len(Fault)
    assert all(faults.parse(f"{fault.title}:7" if fault.argument else fault.title) for fault in Fault)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", Told(Fault.NONE)),
        ("none", Told(Fault.NONE)),
        ("exits-during-boot:7", Told(Fault.EXITS_DURING_BOOT, "7")),
        ("trickles:/api/init", Told(Fault.TRICKLES, "/api/init")),
    ],
)
def test_a_fault_is_read_with_its_argument(text: str, told: Told) -> None:
    assert faults.parse(text) == told


@pytest.mark.parametrize("text", ["no-such", "runs-for", "runs-for:long", "stuck:7", "exits-at-once:x"])
def test_a_fault_that_cannot_be_meant_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=text.partition(":")[0]):
        faults.parse(text)


def test_what_is_left_out_is_the_default() -> None:
    assert faults.parse("exits-at-once").number() == 3
    assert faults.parse("error").text() == "ValueError"
    assert faults.parse("out-of-memory").text() == "conversation"
    assert faults.parse("out-of-memory:boot").text() == "boot"


def test_numbers_are_written_exactly() -> None:
    value = {"a": [Decimal("0.0000168"), Decimal(0)], "b": exact.Literal("NaN"), "c": 'a "text"', "d": 1}
    assert exact.dumps(value) == '{"a":[0.0000168,0.0],"b":NaN,"c":"a \\"text\\"","d":1}'


def test_a_path_finds_the_methods_of_its_route() -> None:
    assert routes.methods_of("/api/conversations/some-id/events/search") == {"GET"}
    assert routes.methods_of("/api/conversations/conversation_id") >= {"GET", "DELETE", "PATCH"}
    assert routes.methods_of("/api/nothing") == set()
    assert sum(len(methods) for methods in routes.GATED.values()) > 150


def test_a_secret_is_printed_in_every_form_and_over_the_border_of_two_pieces() -> None:
    pieces: list[bytes] = []
    secret = 'sk-"a/b+c' + "d" * 20
    boot.print_secret(secret, pieces.append)
    log = b"".join(pieces).decode()
    for form in (
        secret,
        urllib.parse.quote(secret, safe=""),
        base64.b64encode(secret.encode()).decode(),
        json.dumps(secret).strip('"'),
    ):
        assert form in log
    assert sum(secret.encode() in piece for piece in pieces) < log.count(secret)
    assert pieces[-1].index(secret.encode()) < 16 * 1024 < pieces[-1].index(b"\n")
