"""What a comment or an issue of ours looks like: a hidden marker, a hidden note for ourselves, the news.

The first line is how it is found again; nothing that a server or a model wrote can come to stand there. The
second says which run it is about and whether it was still going on, so that what a killed run left is known.
"""

from __future__ import annotations

import hashlib
import json
import re

from pydantic import BaseModel, ValidationError

from e2e_matrix.publish.news import News, State

LARGEST_COMMENT = 65_536  # characters, by GitHub's own check; bytes are never fewer
KEY = re.compile(r"[A-Za-z0-9](?:[._-]?[A-Za-z0-9]){0,59}")
_NOTE = re.compile(r"<!-- e2e-matrix-run (\{.*\}) -->")


class Note(BaseModel):
    """What the second line says: the run, its state, and a hash of what was told."""

    run: str
    state: State
    told: str


def marker(key: str) -> str:
    """The first line of what is ours; ``key`` tells several of ours apart."""
    return f"<!-- e2e-matrix:{key} -->"


def is_marked(body: str | None, key: str) -> bool:
    return plain(body or "").startswith(marker(key))


def written(news: News, key: str, sha: str | None, link: str | None) -> str:
    """The whole body, of at most 65,536 bytes."""
    told = hashlib.sha256(json.dumps([news.state, sha, news.facts]).encode()).hexdigest()[:16]
    note = Note(run=news.run_id[:100], state=news.state, told=told)
    # A run's id may come from a file of somebody else's: nothing in it may end the comment.
    hidden = json.dumps(note.model_dump()).replace("<", "").replace(">", "")
    head = f"{marker(key)}\n<!-- e2e-matrix-run {hidden} -->\n\n"
    about = [f"[the run]({link})" if link else "", f"commit {sha}" if sha else ""]
    foot = f"\n<sub>{' · '.join(filter(None, about))}</sub>\n" if any(about) else ""
    budget = LARGEST_COMMENT - len((head + foot).encode())
    return head + news.markdown(budget, link) + foot


def note_of(body: str) -> Note | None:
    """None where somebody has edited it away."""
    lines = plain(body).split("\n", 2)
    found = _NOTE.fullmatch(lines[1].strip()) if len(lines) > 1 else None
    try:
        return Note.model_validate_json(found[1]) if found else None
    except ValidationError:
        return None


def is_told(there: str, body: str) -> bool:
    """Whether ``there`` says the same already, but for times and costs, which are other ones in every run."""
    before, now = note_of(there), note_of(body)
    return before is not None and now is not None and before.told == now.told


def plain(body: str) -> str:
    """As it was sent: GitHub may give line ends of Windows, and drop spaces around it."""
    return body.replace("\r\n", "\n").strip()
