"""What tests of the places share: surroundings, a client that does not sleep, runs that passed and failed."""

from __future__ import annotations

from typing import Any

from e2e_matrix.failures import Cause
from e2e_matrix.publish.client import Client, Patience
from e2e_matrix.publish.news import News, finished
from e2e_matrix.publish.place import Place
from e2e_matrix.publish.surroundings import Surroundings
from support.github.server import PULL, REPO, SHA, TOKEN, GitHub
from support.sample_run import a_cell, a_run

RUN_URL = f"https://github.com/{REPO}/actions/runs/5"


def around(github: GitHub, **changed: Any) -> Surroundings:
    values: dict[str, Any] = {
        "repo": REPO,
        "pull": PULL,
        "sha": SHA,
        "run_url": RUN_URL,
        "api_url": github.url,
        "token": TOKEN,
    }
    return Surroundings(**values | changed)


def a_client(github: GitHub, patience: Patience | None = None) -> Client:
    """It does not sleep: what a test waits for is in the answers."""
    bounds = patience or Patience(tries=4, exchange=10, total=10_000)
    return Client(github.url, TOKEN, bounds, sleep=lambda seconds: None)


def tell(github: GitHub, place: Place, news: News) -> str:
    with a_client(github) as client:
        return place.tell(client, news)


def passed(run_id: str = "run-1", **changed: Any) -> News:
    return finished(a_run(a_cell("python-amd64"), a_cell("java-amd64"), id=run_id, **changed))


def failed(run_id: str = "run-1", cells: int = 1, **changed: Any) -> News:
    """A run in which so many cells broke."""
    broken = [
        a_cell(f"v{number}-amd64", Cause.ASSERTION, message=f"wrong in {number}") for number in range(cells)
    ]
    return finished(a_run(a_cell("python-amd64"), *broken, id=run_id, **changed))
