"""The replies that docs/llm.md shows."""

import tempfile
from pathlib import Path

from e2e_matrix.llm.replies import Replies
from e2e_matrix.llm.replies_file import load_replies

DOCS = Path(__file__).parents[2] / "docs" / "llm.md"


def documented_replies() -> Replies:
    """Its example, read as a user's file is."""
    [example] = [part.partition("```")[0] for part in DOCS.read_text().split("```yaml\n")[1:]]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "replies.yaml"
        path.write_text(example)
        return load_replies(path)
