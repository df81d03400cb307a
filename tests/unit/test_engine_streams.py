"""Frames of a stream put together again, and the limits on what is kept of them."""

from __future__ import annotations

import struct
from types import SimpleNamespace
from typing import cast

import requests
from hypothesis import given
from hypothesis import strategies as st

from e2e_matrix.engine.docker_pull import Layers
from e2e_matrix.engine.docker_streams import frames, head, tail


def _response(pieces: list[bytes]) -> requests.Response:
    waiting = iter([*pieces, b""])
    return cast(requests.Response, SimpleNamespace(raw=SimpleNamespace(read1=lambda _: next(waiting))))


@given(
    payloads=st.lists(st.tuples(st.sampled_from([1, 2]), st.binary(max_size=40)), max_size=8),
    cuts=st.lists(st.integers(1, 15), min_size=1, max_size=10),
)
def test_frames_come_out_whole_however_the_stream_is_cut(
    payloads: list[tuple[int, bytes]], cuts: list[int]
) -> None:
    whole = b"".join(struct.pack(">BxxxL", kind, len(data)) + data for kind, data in payloads)
    pieces: list[bytes] = []
    while whole:
        size = cuts[len(pieces) % len(cuts)]
        pieces.append(whole[:size])
        whole = whole[size:]
    assert b"".join(frames(_response(pieces))) == b"".join(data for _, data in payloads)


@given(pieces=st.lists(st.binary(max_size=20), max_size=10), limit=st.integers(0, 60))
def test_head_and_tail_keep_what_they_say(pieces: list[bytes], limit: int) -> None:
    whole = b"".join(pieces)
    assert head(iter(pieces), limit) == whole[:limit]
    assert tail(iter(pieces), limit) == (whole[-limit:] if limit else b"")


def test_layers_add_up() -> None:
    layers = Layers()
    layers.take({"status": "Pulling from x", "id": "sha256:1"})
    layers.take({"status": "Already exists", "id": "a"})
    layers.take({"status": "Downloading", "id": "b", "progressDetail": {"current": 10, "total": 100}})
    found = layers.take({"status": "Downloading", "id": "c", "progressDetail": {"current": 5, "total": 50}})
    assert (found.done_bytes, found.total_bytes, found.status) == (15, 150, "Downloading")
    found = layers.take({"status": "Download complete", "id": "b", "progressDetail": {}})
    assert (found.done_bytes, found.total_bytes) == (105, 150)
    # extracting counts unpacked bytes, which are no download
    found = layers.take({"status": "Extracting", "id": "b", "progressDetail": {"current": 1, "total": 900}})
    assert (found.done_bytes, found.total_bytes) == (105, 150)
    found = layers.take({"status": "Status: Downloaded newer image for x"})
    assert (found.done_bytes, found.total_bytes) == (105, 150)
