"""A cell's key: whatever can change how the cell ends makes another one of it, and nothing else does."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from e2e_matrix.cell_key import LEFT_OUT, LEFT_OUT_OF_ENGINE, KeyParts, parts_by_cell
from e2e_matrix.engine.base import EngineInfo, PlatformProbe, Support
from e2e_matrix.engine.fake import FakeEngine
from e2e_matrix.errors import CellFailure
from e2e_matrix.facts import PlannedFacts
from e2e_matrix.failures import Cause
from e2e_matrix.matrix_load import load_matrix
from e2e_matrix.plan import PlannedCell, make_plan
from e2e_matrix.record import Prepared
from e2e_matrix.registry import ResolvedImage
from e2e_matrix.results import Llm
from e2e_matrix.settings import Overrides, Settings, resolve
from e2e_matrix.task import CellTask

DIGEST = "sha256:" + "a" * 64
PARTS = KeyParts(
    cell="python-amd64",
    facts=PlannedFacts(
        image="r.test/server:latest-python",
        platform="linux/amd64",
        digest=DIGEST,
        scenario="deferred-init",
        scenario_version="1",
        scenario_settings={"gate": "known"},
        model="openai/gpt-4o (stand-in)",
        environment=["A"],
        resources={"memory_bytes": 1, "cpus": 2.0, "pids": None},
    ),
    axes={"variant": "python"},
    code="0",
    runtime={"python": "3.11"},
    engine="docker linux/amd64",
    emulated_cpu=None,
    emulated_on=None,
    server_arguments=("--port", "8000"),
    environment_values={"A": "a"},
    script_environment_values={},
    script_files=None,
    timeout=600.0,
    slowness=1.0,
    step_timeouts={},
    max_cost=None,
    expected_sha=None,
    expected_version=None,
)
# Where in the key each field of a task is.
IN_KEY = {
    "cell": "cell",
    "image": "digest",
    "platform": "platform",
    "emulated": "emulated_cpu",
    "scenario": "scenario",
    "timeout_seconds": "timeout",
    "slowness": "slowness",
    "llm": "model",
    "settings": "scenario_settings",
    "axes": "axes",
    "environment": "environment_values",
    "resources": "resources",
    "expected_sha": "expected_sha",
    "expected_version": "expected_version",
    "step_timeouts": "step_timeouts",
    "price": "price",
}
# What else a person can set, and where in the key it is, or why it is not.
SETTINGS = {
    "matrix_file": "its contents count, not its name",
    "ref": "expected_sha",
    "image": "digest",
    "arch_image": "a cell whose tags disagree fails before it could be reused",
    "platform": "platform",
    "repeat": "one pass is one pass; runs that repeat reuse nothing",
    "reuse": "how old a pass may be says nothing of the pass",
    "max_parallel": "how many run at a time",
    "max_pulls": "the same",
    "max_starts": "the same",
    "fail_fast": "what happens after a failure",
    "timeout": "timeout",
    "emulated_timeout_factor": "slowness",
    "step_timeouts": "step_timeouts",
    "run_timeout": "a run's limit is not the cell's",
    "product_retries": "what is passed only after a failure is flaky, and never reused",
    "infrastructure_retries": "tries that say nothing of the product",
    "max_cost_cell": "max_cost",
    "max_cost_run": "a run's limit is not the cell's",
    "resources": "resources",
    "images": "what becomes of an image afterwards",
    "model": "model",
    "base_url": "endpoint",
    "record": "runs that record reuse nothing",
    "replay": "answers_digest",
    "prices": "price",
    "api_key_env": "whose key it is; without a good one nothing passes",
    "replies": "answers_digest",
    "environment": "environment_values",
    "scenarios": "scenario_settings",
    "reports": "where records go",
    "named_history": "what remembers them",
    "thresholds": "what a comparison makes of it",
    "fail_on": "the same",
    "report_formats": "how they are shown",
    "grid_rows": "the same",
    "grid_columns": "the same",
    "profile": "what it changes is a setting of its own",
    "only": "which cells are run",
    "skip": "the same",
    "origins": "who said so",
}


def another(value: Any) -> Any:
    """A value of the same kind that is not the same."""
    match value:
        case str():
            return value + "x"
        case float() | int():
            return value + 1
        case tuple():
            return (*value, "x")
        case list():
            return [*value, "x"]
        case dict():
            return {**value, "x": "x"} if not value or isinstance(next(iter(value.values())), str) else {}
        case None:
            return "x"
    raise AssertionError(value)


@pytest.mark.parametrize("name", KeyParts.model_fields.keys() - {"facts", "step_timeouts"})
def test_each_part_of_a_key_makes_another_one_of_it(name: str) -> None:
    changed = PARTS.model_copy(update={name: another(getattr(PARTS, name))})
    assert changed.digest() != PARTS.digest()


@pytest.mark.parametrize("name", PlannedFacts.model_fields.keys() - LEFT_OUT.keys())
def test_each_fact_of_a_cell_makes_another_key_of_it(name: str) -> None:
    facts = PARTS.facts.model_copy(update={name: another(getattr(PARTS.facts, name))})
    assert PARTS.model_copy(update={"facts": facts}).digest() != PARTS.digest()


def test_a_limit_of_a_step_makes_another_key() -> None:
    assert PARTS.model_copy(update={"step_timeouts": {"dormant": 9.0}}).digest() != PARTS.digest()


def test_values_that_move_from_one_part_to_another_make_another_key() -> None:
    one = PARTS.model_copy(update={"expected_sha": "1", "expected_version": None})
    other = PARTS.model_copy(update={"expected_sha": None, "expected_version": "1"})
    assert one.digest() != other.digest()
    one = PARTS.model_copy(update={"environment_values": {"A": "b", "C": ""}})
    other = PARTS.model_copy(update={"environment_values": {"A": "", "C": "b"}})
    assert one.digest() != other.digest()


def test_the_order_of_variables_and_the_name_of_the_image_are_no_part_of_it() -> None:
    facts = PARTS.facts.model_copy(update={"image": "127.0.0.1:5000/server:latest-python"})
    one = PARTS.model_copy(update={"environment_values": {"A": "a", "B": "b"}, "facts": facts})
    other = PARTS.model_copy(update={"environment_values": {"B": "b", "A": "a"}})
    assert one.digest() == other.digest()


def test_every_field_of_a_task_is_in_the_key_or_left_out_for_a_reason() -> None:
    parts = KeyParts.model_fields.keys() | PlannedFacts.model_fields.keys()
    assert {field.name for field in fields(CellTask)} == IN_KEY.keys() | (LEFT_OUT.keys() - {"image"})
    assert set(IN_KEY.values()) <= parts
    assert all(LEFT_OUT.values())


def test_every_setting_is_in_the_key_or_left_out_for_a_reason() -> None:
    assert {field.name for field in fields(Settings)} == SETTINGS.keys()
    assert all(SETTINGS.values())


def test_every_fact_of_an_engine_is_in_the_key_or_left_out_for_a_reason() -> None:
    assert {field.name for field in fields(EngineInfo)} == {"name", "platform", *LEFT_OUT_OF_ENGINE}
    assert all(LEFT_OUT_OF_ENGINE.values())


class Keys:
    """The key of a matrix's first cell."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.llm = Llm(kind="stand-in", model="openai/gpt-4o")
        self.digest: str | None = DIGEST
        self.support = Support.NATIVE
        self.engine = FakeEngine().info()
        self.failure: CellFailure | None = None
        self.lost: Path | None = None  # a file that goes once the matrix was read
        self.parts: KeyParts | None = None  # of the last key

    def __call__(self, more: str = "", include: str = "") -> str | None:
        file = self.folder / "matrix.yaml"
        file.write_text(f"matrix: {{variant: [python], arch: [amd64], include: [{include}]}}\n{more}")
        loaded = load_matrix(str(file), {})
        settings = resolve(loaded, Overrides(), {})
        [cell] = make_plan(loaded, settings).cells
        if self.lost:
            self.lost.unlink()
        parts = parts_by_cell([self._prepared(cell)], settings, self.llm, self.engine)
        self.parts = parts.get(cell.id)
        return self.parts.digest() if self.parts else None

    def _prepared(self, cell: PlannedCell) -> Prepared:
        image = ResolvedImage(cell.image, cell.platform, self.digest or "", "", 1, f"r@{self.digest}")
        probe = PlatformProbe(cell.platform, self.support, "")
        return Prepared(cell, image if self.digest else None, probe, self.failure)


@pytest.fixture
def key(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Keys:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
    return Keys(tmp_path)


def test_a_key_is_the_same_again_and_stable_in_form(key: Keys) -> None:
    first = key()
    assert first is not None
    assert len(bytes.fromhex(first)) == 32
    assert key() == first


@pytest.mark.parametrize(
    "more",
    [
        "timeout: 9m\n",
        "step-timeouts: {dormant: 3m}\n",
        "max-cost: {cell: 0.5}\n",
        "resources: {memory: 2g}\n",
        "resources: {cpus: null}\n",
        "environment: {A: b}\n",
        "environment: {A_TOKEN: b}\n",
        "scenarios: {deferred-init: {gate: all}}\n",
        "scenarios: {tools: }\n",
        "llm: {model: openai/gpt-5.5}\n",
        "llm: {prices: {openai/*: {input: 1, output: 2}}}\n",
        "ref: 1.58.2\n",
        "ref: 0123456\n",
        "platform: linux/arm64\n",
    ],
)
def test_what_the_matrix_says_and_decides_a_cell_makes_another_key(more: str, key: Keys) -> None:
    assert key(more) not in (key(), None)


@pytest.mark.parametrize(
    "more",
    [
        "repeat: 3\nmax-parallel: 1\nmax-pulls: 1\nmax-starts: 1\nfail-fast: true\n",
        "max-cost: {run: 0.5}\nrun-timeout: 1h\nretries: {product: 1, infrastructure: 1}\n",
        "reports: {folder: elsewhere, formats: [junit]}\nimages: remove\nreuse: 7d\n",
        "image: 127.0.0.1:5001/another:{ref}-{variant}\n",
        "emulated-timeout-factor: 9\n",
        "ref: main\n",
    ],
)
def test_what_cannot_change_how_a_cell_ends_makes_none(more: str, key: Keys) -> None:
    assert key(more) == key()


def test_a_value_that_include_adds_makes_another_key(key: Keys) -> None:
    image = "image: 'r.test/server:{ref}-{flavour}'\n"  # the same digest
    keys = {key(image, include=f"{{variant: python, flavour: {value}}}") for value in "ab"}
    assert len(keys - {None}) == 2


def test_emulation_and_how_much_longer_it_may_take_make_another_key(key: Keys) -> None:
    native = key()
    key.support = Support.EMULATED
    assert len({native, key(), key("emulated-timeout-factor: 9\n")}) == 3


@pytest.mark.parametrize("changed", [{"name": "podman"}, {"platform": "linux/arm64"}])
def test_another_kind_of_engine_makes_another_key(changed: dict[str, str], key: Keys) -> None:
    before = key()
    key.engine = EngineInfo(**vars(key.engine) | changed)
    assert key() != before


@pytest.mark.parametrize("changed", [{"version": "99"}, {"kernel": "7"}])
def test_another_engine_or_kernel_makes_another_key_of_an_emulated_cell(
    changed: dict[str, str], key: Keys
) -> None:
    key.support = Support.EMULATED
    before = key()
    key.engine = EngineInfo(**vars(key.engine) | changed)
    assert key() not in (before, None)


def test_another_version_of_what_a_cell_is_seen_through_makes_another_key(
    key: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = key()
    monkeypatch.setattr("e2e_matrix.cell_key.runtime", lambda: {"httpx": "99"})
    assert key() != before


def test_the_same_engine_in_another_state_makes_none_of_a_native_cell(key: Keys) -> None:
    before = key()
    key.engine = EngineInfo(
        **vars(key.engine) | {"version": "99", "kernel": "7", "cpus": 64, "memory_bytes": 1, "address": "tcp"}
    )
    assert key() == before


@pytest.mark.parametrize(
    "llm",
    [
        Llm(kind="provider", model="openai/gpt-4o"),
        Llm(kind="stand-in", model="openai/gpt-5.5"),
        Llm(kind="stand-in", model="openai/gpt-4o", base_url="https://one.test/v1"),
    ],
)
def test_another_model_or_endpoint_makes_another_key(llm: Llm, key: Keys) -> None:
    before = key()
    key.llm = llm
    assert key() != before


def test_another_image_makes_another_key(key: Keys) -> None:
    before = key()
    key.digest = "sha256:" + "b" * 64
    assert key() != before


def test_other_replies_make_another_key(key: Keys) -> None:
    replies = key.folder / "replies.yaml"
    keys = {key()}
    for text in ("one", "two"):
        replies.write_text(f"- when: hi\n  reply: {text}\n")
        keys.add(key("llm: {replies: replies.yaml}\n"))
    assert len(keys - {None}) == 3


def test_where_the_file_that_answers_is_lost_there_is_no_key(key: Keys) -> None:
    key.llm = Llm(kind="replay", model="openai/gpt-4o")
    recording = key.folder / "calls.jsonl"
    recording.write_text("{}\n")
    assert key("llm: {replay: calls.jsonl}\n") is not None
    key.lost = recording
    assert key("llm: {replay: calls.jsonl}\n") is None


@pytest.mark.parametrize("name", ["A", "A_TOKEN"])
def test_another_value_of_a_variable_makes_another_key(name: str, key: Keys) -> None:
    keys = [key(f"environment: {{{name}: {value}}}\n") for value in ("abc", "abc", "def")]
    assert None not in keys
    assert keys[0] == keys[1] != keys[2]


def test_a_secrets_value_can_be_found_from_no_key(key: Keys, monkeypatch: pytest.MonkeyPatch) -> None:
    """On another machine the same value makes another key, and its parts do not show it."""
    here = key("environment: {A_TOKEN: short}\n")
    assert "short" not in str(key.parts)
    assert hashlib.sha256(b"short").hexdigest() not in str(key.parts)
    monkeypatch.setenv("XDG_CACHE_HOME", str(key.folder / "elsewhere"))
    assert key("environment: {A_TOKEN: short}\n") not in (here, None)


def test_without_a_salt_a_cell_with_a_secret_has_no_key_and_others_have(
    key: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    (key.folder / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(key.folder / "file"))
    assert key("environment: {A_TOKEN: abc}\n") is None
    assert key("environment: {A: abc}\n") is not None


def test_an_image_that_nobody_knows_and_a_cell_that_cannot_run_have_no_key(key: Keys) -> None:
    key.failure = CellFailure(Cause.PLATFORM_UNSUPPORTED, "no")
    assert key() is None
    key.failure, key.digest = None, None
    assert key() is None


class TestOfAScript:
    """In a lone folder, and in a checkout."""

    @pytest.fixture
    def script(self, key: Keys) -> Path:
        path = key.folder / "examples" / "one.py"
        path.parent.mkdir()
        path.write_text("print(1)\n")
        return path

    @pytest.fixture
    def checkout(self, key: Keys, script: Path) -> Path:
        git(script.parent, "init", "--quiet", "--initial-branch=main")
        git(script.parent, "add", ".")
        git(script.parent, "commit", "--quiet", "--message=one")
        return script.parent

    @pytest.mark.parametrize(
        "more",
        [
            "sdk: 1.58.0",
            "timeout: 1m",
            "arguments: [a]",
            "environment: {A: b}",
            "cwd: scratch",
            "stdin: empty",
            "expect: {exit: 1}",
        ],
    )
    def test_what_is_said_of_it_is_part_of_the_key(self, more: str, key: Keys, script: Path) -> None:
        assert key(example(more)) not in (key(example()), None)

    @pytest.mark.parametrize("name", ["A", "A_KEY"])
    def test_its_variables_are(self, name: str, key: Keys, script: Path) -> None:
        one, again, two = (key(example(f"environment: {{{name}: {value}}}")) for value in "aab")
        assert one == again != two
        assert None not in (one, two)

    def test_its_bytes_and_those_of_the_files_beside_it_are(self, key: Keys, script: Path) -> None:
        keys = {key(example())}
        script.write_text("print(2)\n")
        keys.add(key(example()))
        (script.parent / "lib").mkdir()
        for name in ("helper.py", "prompt.json", ".env", "lib/x.py"):
            (script.parent / name).write_text("")
            keys.add(key(example()))
        (script.parent / "lib" / "x.py").write_text("pass\n")
        keys.add(key(example()))
        assert len(keys - {None}) == 7

    def test_the_reports_and_the_history_beside_it_are_not(self, key: Keys, script: Path) -> None:
        beside = key.folder / "examples"
        ours = f"reports: {{folder: {beside}/runs, history: {beside}/past.sqlite}}\n"
        before = key(ours + example())
        (script.parent / "runs" / "one").mkdir(parents=True)
        for name in ("runs/one/results.json", "past.sqlite", "past.sqlite-wal", ".past.sqlite.lock"):
            (script.parent / name).write_text("")
        assert key(ours + example()) == before is not None
        (script.parent / "runs.py").write_text("")
        assert key(ours + example()) != before

    def test_its_folder_may_be_anywhere(self, key: Keys, script: Path, tmp_path: Path) -> None:
        before = key(example())
        other = tmp_path / "other"
        shutil.copytree(script.parent, other / "examples")
        assert Keys(other)(example()) == before

    def test_the_newest_sdk_of_several_has_no_key(self, key: Keys, script: Path) -> None:
        assert key(example("sdk: '1.58'")) is None

    def test_a_checkout_counts_by_its_commit_and_not_at_all_where_it_was_changed(
        self, key: Keys, script: Path, checkout: Path
    ) -> None:
        keys = {key(example())}
        script.write_text("print(2)\n")  # the script itself is known from its bytes
        keys.add(key(example()))
        (checkout / "helper.py").write_text("")
        assert key(example()) is None
        git(checkout, "add", ".")
        git(checkout, "commit", "--quiet", "--message=two")
        keys.add(key(example()))
        assert len(keys - {None}) == 3

    def test_a_branch_counts_by_its_commit(self, key: Keys, script: Path, checkout: Path) -> None:
        at_main = key(example("at: main"))
        assert at_main is not None
        assert key(example(f"at: {git(checkout, 'rev-parse', 'main')}")) != at_main  # it is said otherwise
        (checkout / "more.py").write_text("")
        assert key(example("at: main")) == at_main
        git(checkout, "add", ".")
        git(checkout, "commit", "--quiet", "--message=two")
        assert key(example("at: main")) not in (at_main, None)
        git(checkout, "branch", "--move", "trunk")
        assert key(example("at: main")) is None


def example(more: str = "") -> str:
    return f"scenarios:\n  example: {{script: examples/one.py{', ' + more if more else ''}}}\n"


def git(root: Path, *command: str) -> str:
    identity = ("-c", "user.name=n", "-c", "user.email=n@example.org", "-c", "safe.directory=*")
    done = subprocess.run(["git", *identity, *command], cwd=root, check=True, capture_output=True, text=True)
    return done.stdout.strip()
