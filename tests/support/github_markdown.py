"""A comment as GitHub shows it: rendered by its own cmark, then looked at as its filters look at it.

GitHub renders Markdown with cmark-gfm, removes what is not on a list, and only then looks for mentions,
references, emoji and formulas in the text that is left, but not in code.
https://github.com/github/markup#github-markup
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass, field
from html.parser import HTMLParser

import cmarkgfm  # type: ignore[import-untyped]
from cmarkgfm.cmark import Options  # type: ignore[import-untyped]

# What cmark leaves to the list of tags is not removed here, so that it is seen; a comment breaks its lines.
_OPTIONS = Options.CMARK_OPT_UNSAFE | Options.CMARK_OPT_FOOTNOTES | Options.CMARK_OPT_HARDBREAKS
_VOID = {"br"}
_TAGS = {
    *("h2", "h3", "h4", "p", "ul", "li", "em", "strong", "code", "pre", "br", "span", "a"),
    *("table", "thead", "tbody", "tr", "th", "td", "details", "summary"),
}
# Beside a fence of ours: GitHub draws what is in those of `mermaid`, `geojson`, `math` and others.
_LANGUAGES = {"text", "sh"}
_CODE = {"code", "pre"}
# Stricter than the filters, which are not published.
_REFERENCES = {
    "mention": r"@[^\W_]",
    "issue": r"#\d|\bGH-\d|[a-z]-\d",
    "advisory": r"\bCVE-\d|\bGHSA-\w",
    "address": r"://|www\.|[\w.+-]+@[\w-]",
    # Minutes are none.
    "emoji": r":(?!\d\d:)[a-z0-9_+-]+:",
    # A figure after a decimal point or within a word is none.
    "commit": r"(?<![\w.,])[0-9a-f]{7,40}(?!\w)",
    "formula": r"\$[^$]*\$",
    "closing keyword": r"\b(?:fix|close|resolve)\w*:?\s+\S*#\d",
}
_FOUND = {name: re.compile(pattern, re.IGNORECASE | re.DOTALL) for name, pattern in _REFERENCES.items()}
_COLOUR = re.compile(r"#[0-9a-f]{3,8}|(?:rgb|hsl)a?\(.*\)", re.IGNORECASE)


@dataclass
class Shown:
    """``skeleton``: the tags in their order, ``/`` before one that ends; ``texts``: what is not code, in the
    pieces that a filter is given; ``codes``: what is, but for fences; ``problems``: what must not be there.
    """

    skeleton: list[str] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    codes: list[str] = field(default_factory=list)
    links: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        """All of it that is not code, without what cannot be seen."""
        return "".join(self.texts).replace("\u200b", "").strip()

    def tables(self) -> list[list[int]]:
        """The columns of each row of each table."""
        found: list[list[int]] = []
        for tag in self.skeleton:
            if tag == "table":
                found.append([])
            elif tag == "tr":
                found[-1].append(0)
            elif tag in {"td", "th"}:
                found[-1][-1] += 1
        return found


def shown(markdown: str, link: str | None = None) -> Shown:
    """What GitHub makes of a comment, of which nothing but ``link`` may lead anywhere."""
    reader = _Reader()
    reader.feed(cmarkgfm.github_flavored_markdown_to_html(markdown, _OPTIONS))
    reader.close()
    page = reader.page
    page.problems += [f"not closed: {tag}" for tag in reader.open]
    page.problems += [f"link: {address}" for address in page.links if address != link]
    page.problems += [f"{name}: {text!r}" for text in page.texts for name in _references(text)]
    page.problems += [f"colour: {text!r}" for text in page.codes if _COLOUR.fullmatch(text)]
    page.problems += [
        f"character: {character!r}"
        for character in sorted(set(markdown) - {"\n"})
        if unicodedata.category(character) in {"Cc", "Cf", "Cs", "Co", "Zl", "Zp"}
    ]
    return page


def _references(text: str) -> list[str]:
    return [name for name, pattern in _FOUND.items() if pattern.search(text)]


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.page = Shown()
        self.open: list[str] = []
        self._piece = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._end_of_text()
        if tag not in _TAGS:
            self.page.problems.append(f"tag: {tag}")
        for name, value in attrs:
            self._attribute(tag, name, value or "")
        if tag == "code" and self.page.texts and self.page.texts[-1].endswith("$"):
            self.page.problems.append("formula in code")
        # A dollar of its own is how GitHub wants one written that begins no formula.
        if tag != "span":
            self.page.skeleton.append(tag)
        if tag not in _VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        self._end_of_text()
        if not self.open or self.open.pop() != tag:
            self.page.problems.append(f"closed where it was not open: {tag}")
        if tag != "span":
            self.page.skeleton.append(f"/{tag}")

    def handle_data(self, data: str) -> None:
        self._piece += data

    def handle_comment(self, data: str) -> None:
        self.page.problems.append(f"comment: {data!r}")

    def handle_decl(self, decl: str) -> None:
        self.page.problems.append(f"declaration: {decl!r}")

    def unknown_decl(self, data: str) -> None:
        self.handle_decl(data)

    def handle_pi(self, data: str) -> None:
        self.page.problems.append(f"instruction: {data!r}")

    def close(self) -> None:
        super().close()
        self._end_of_text()

    def _attribute(self, tag: str, name: str, value: str) -> None:
        if (tag, name) == ("a", "href"):
            self.page.links.append(value)
        elif (tag, name) != ("pre", "lang") or value not in _LANGUAGES:
            self.page.problems.append(f"attribute: {tag} {name}={value!r}")

    def _end_of_text(self) -> None:
        piece, self._piece = self._piece, ""
        if piece and not _CODE & set(self.open):
            self.page.texts.append(piece)
        elif piece and "pre" not in self.open:
            self.page.codes.append(piece)
