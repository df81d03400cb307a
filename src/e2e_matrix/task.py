"""One attempt at one cell, as plain data: what a worker needs to be told, here or on another machine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from e2e_matrix.engine.base import Resources
from e2e_matrix.prices import Price


@dataclass(frozen=True)
class LlmEndpoint:
    """The model as the server in the container reaches it. The key travels in request bodies only."""

    model: str
    base_url: str | None
    api_key: str | None = field(repr=False)
    is_stand_in: bool


@dataclass(frozen=True)
class CellTask:
    """Everything about one attempt. Times are seconds."""

    run_id: str
    cell: str
    attempt: int
    folder: str  # where the attempt's files go
    image: str  # repo@sha256:child
    platform: str
    emulated: bool
    scenario: str
    timeout_seconds: float  # of the whole attempt, already stretched for an emulated one
    slowness: float  # by how much a step's limit is stretched: 1 on a native engine
    llm: LlmEndpoint
    owner: str  # label values: see engine/base.py
    deadline: str
    settings: Mapping[str, Any] = field(default_factory=dict)  # the scenario's own
    axes: Mapping[str, str] = field(default_factory=dict)  # the cell's values, with what include added
    environment: Mapping[str, str] = field(default_factory=dict)
    resources: Resources = field(default_factory=Resources)
    build: str = ""  # what the images of one ref have in common; "": this image is of no ref
    expected_sha: str | None = None  # the commit that the image is said to be built from, 7 to 40 digits
    expected_version: str | None = None  # the release, or the beginning of one: 1.58.2, 1.58, 1
    step_timeouts: Mapping[str, float] = field(default_factory=dict)  # the matrix's own, not stretched
    price: Price | None = None  # None: the server's own count is what an attempt cost
    repetition: int = 1
    worker: int = 0
    run_offset_seconds: float = 0.0
