"""What the papers link to is there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAPERS = [path for folder in (".", "docs", "bench", "reports") for path in (ROOT / folder).glob("*.md")]


@pytest.mark.parametrize("paper", PAPERS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_leads_somewhere_and_nothing_is_left_to_fill_in(paper: Path) -> None:
    text = paper.read_text()
    links = re.findall(r"\]\(([^)#\s]+)\)|(?:src|href)=\"([^\"#]+)\"", text)
    targets = [one or other for one, other in links]
    missing = [link for link in targets if "://" not in link and not (paper.parent / link).exists()]
    assert missing == []
    assert "@@" not in text
    assert "<!--" not in text
