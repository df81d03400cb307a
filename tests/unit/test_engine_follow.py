"""Finding the place in the engine's log again where a broken connection stopped."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from e2e_matrix.engine.docker_follow import _Position

pieces_of_log = st.lists(st.sampled_from([b"a", b"\n", b"\xff", b"\xc3", b"\xab", "ë€😀".encode(), b"\0\r"]))


def as_the_engine_keeps_it(printed: bytes) -> bytes:
    """Each byte that is no UTF-8 becomes U+FFFD; a line is one entry."""
    lines = printed.split(b"\n")
    return b"\n".join(
        "".join(
            "\ufffd" if "\udc80" <= sign <= "\udcff" else sign
            for sign in line.decode("utf-8", "surrogateescape")
        ).encode()
        for line in lines
    )


@given(pieces_of_log, pieces_of_log, st.lists(st.integers(1, 9), min_size=1))
def test_what_was_handed_on_is_left_out_when_the_log_is_read_again(
    before: list[bytes], after: list[bytes], sizes: list[int]
) -> None:
    position = _Position()
    for piece in before:
        position.advance(piece)
    first, second = b"".join(before), b"\n" + b"".join(after)
    log = as_the_engine_keeps_it(first + second)
    rest, kept = position.rest(), b""
    while log:
        size = sizes.pop() if sizes else 7
        kept += rest.drop(log[:size])
        log = log[size:]
    # A character that was cut in two by the broken connection comes whole, once more.
    assert kept.endswith(as_the_engine_keeps_it(second))
    assert len(kept) - len(as_the_engine_keeps_it(second)) <= 9
    if first.isascii():
        assert kept == as_the_engine_keeps_it(second)
