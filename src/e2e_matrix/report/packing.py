"""What a page of many cells holds of each of them, compressed: they have most of their text in common.

The page's script unpacks a pack when one of its cells is opened (report.js, `unpack`).
"""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Iterable, Sequence

# Fragments in a pack: larger ones compress better, smaller ones open faster.
PACK = 100


def packed(fragments: Iterable[str]) -> list[str]:
    """Packs of PACK fragments each: a JSON array of strings, by gzip, in base64; the same each time."""
    kept = list(fragments)
    return [_pack(kept[start : start + PACK]) for start in range(0, len(kept), PACK)]


def _pack(fragments: Sequence[str]) -> str:
    text = json.dumps(fragments, ensure_ascii=False, separators=(",", ":"))
    # Half-surrogates cannot be in what was made safe to show; should one be, it must not end the report.
    raw = text.encode("utf-8", "replace")
    return base64.b64encode(gzip.compress(raw, compresslevel=6, mtime=0)).decode()
