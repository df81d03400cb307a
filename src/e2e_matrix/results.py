"""What a run leaves behind: the models of results.json.

The store is the truth: every report is rendered from these alone. Durations are seconds on a monotonic clock,
timestamps UTC in ISO 8601, money an exact decimal in a string (null: nobody told), sizes bytes.
The JSON Schema is generated from here into docs/results.schema.json, and a test keeps it current.
"""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, PlainSerializer

from e2e_matrix.failures import Cause, Outcome

SCHEMA_VERSION = 4
# What was added since has defaults, so that a file of an older version reads as one that did not know of it.
READABLE_VERSIONS = (1, 2, 3, 4)


def plain_decimal(value: Decimal) -> str:
    """The decimal without an exponent: 0.0000168, never 1.68E-5."""
    return format(value, "f")


Money = Annotated[Decimal, PlainSerializer(plain_decimal, return_type=str)]
Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]


# The step that only the first repetition of a cell has: its time is none that can be compared.
OPENAPI_STEP = "openapi"


class Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Tokens(Model):
    """As the server counted them over the whole conversation."""

    prompt: int = 0
    completion: int = 0
    total: int = 0

    @classmethod
    def of(cls, prompt: int, completion: int) -> Self:
        return cls(prompt=prompt, completion=completion, total=prompt + completion)


class LlmCall(Model):
    """One call to the model that went through us: to the stand-in, the recorder or a replay."""

    path: str
    status: int
    streamed: bool
    prompt_tokens: int
    completion_tokens: int
    received_at: datetime
    first_byte_seconds: Seconds
    duration_seconds: Seconds


class Step(Model):
    """One named part of a scenario. ``start_seconds`` counts from the attempt's start."""

    name: str
    title: str = Field(description="What the step shows, as one short sentence for a person")
    phase: str = Field(
        description="The phase its time belongs to: pull, boot, checks, init, conversation, script or removal"
    )
    outcome: Outcome
    start_seconds: Seconds
    duration_seconds: Seconds
    message: str | None = None
    cause: Cause | None = None
    expected: str | None = None
    got: str | None = None
    detail: str | None = Field(None, description="Text from the server or its log; hostile")
    facts: dict[str, Any] = Field(
        default_factory=dict, description="What was learned, such as a status code or a count"
    )


class Phases(Model):
    """Seconds per phase; null where the attempt did not get that far."""

    pull: Seconds | None = None
    boot: Seconds | None = Field(None, description="Container start until GET /api/init says dormant")
    init: Seconds | None = Field(None, description="The POST /api/init that succeeds")
    first_token: Seconds | None = Field(
        None, description="Conversation created until the model's first byte, where known"
    )
    conversation: Seconds | None = Field(
        None, description="Conversation created until its terminal state was known"
    )
    removal: Seconds | None = Field(None, description="Stop and removal of the container")


class Image(Model):
    reference: str = Field(description="repo:tag as a person writes it")
    digest: str | None = Field(None, description="The child manifest that ran: sha256:...")
    index_digest: str | None = None
    size_bytes: int | None = Field(
        None, description="Compressed, from the manifest: what a pull transfers at the most"
    )
    unpacked_bytes: int | None = Field(None, description="On the engine's disk, as the engine counts it")
    platform: str
    pinned: str | None = Field(None, description="repo@sha256:child, what to pull to get exactly this")
    arch_tag: str | None = Field(None, description="The per-arch tag, where it exists")
    arch_tag_matches: bool | None = None
    labels: dict[str, str] = Field(default_factory=dict)


class Server(Model):
    """What GET /server_info said; all of it hostile text."""

    version: str | None = None
    sdk_version: str | None = None
    build_git_sha: str | None = None
    build_git_ref: str | None = None
    python_version: str | None = None


class ApiCall(Model):
    """One HTTP request that a script sent to a server of its cell, as its own process saw it."""

    method: str
    path: str
    status: int | None = Field(None, description="null: no answer came")
    start_seconds: Seconds = Field(description="Counted from the attempt's start")
    duration_seconds: Seconds


class ScriptRun(Model):
    """What an example script did, seen from outside."""

    path: str = Field(description="As the matrix names it")
    revision: str | None = Field(None, description="What the matrix takes it from: a commit, tag or branch")
    commit: str | None = Field(None, description="Of its checkout, in full; null where that is not known")
    changed: bool | None = Field(None, description="Whether it is not as that commit has it")
    sha256: str | None = Field(None, description="Of the script's bytes")
    sdk_version: str | None = Field(None, description="The openhands-sdk that it ran with")
    exit_code: int | None = Field(None, description="null: a signal ended it, or it did not run")
    signal: int | None = None
    start_seconds: Seconds | None = Field(None, description="Its start, counted from the attempt's")
    duration_seconds: Seconds | None = None
    printed_cost_usd: Money | None = Field(None, description="What it printed after EXAMPLE_COST:")
    server_cost_usd: Money | None = Field(None, description="Of its conversations, by the server's count")
    conversations: int = Field(0, description="That it is known to have held")
    first_request_seconds: Seconds | None = Field(
        None, description="Its first request to the API, counted from the attempt's start"
    )
    calls: list[ApiCall] = Field([], description="The first and the last hundred")
    calls_total: int = 0
    terminal_status: str | None = Field(None, description="How its last conversation ended")
    terminal_seconds: Seconds | None = Field(
        None, description="When its last conversation had ended, counted from the attempt's start"
    )
    wasted_seconds: Seconds | None = Field(
        None, description="How long it went on after that, but for stopping its server"
    )
    calls_after_terminal: int | None = Field(
        None, description="Requests for the conversation's state since then"
    )
    left_behind: int = Field(0, description="Processes that it left running; they were ended")
    output_bytes: int | None = Field(None, description="What it printed, as text without secrets")
    output_dropped_bytes: int = Field(0, description="So much of its middle is not in script.log")
    output_excerpt: str | None = Field(None, description="The end of it where something failed; hostile")


class Api(Model):
    """What a server's /openapi.json describes."""

    digest: str = Field(
        description="sha256 of its canonical JSON: the same exactly where two describe the same"
    )
    file: str = Field(description="Where it lies, relative to the run's folder")
    operations: int = Field(description="Pairs of a path and a method")


class Attempt(Model):
    number: int = Field(ge=1)
    repetition: int = Field(1, ge=1, description="Which of the cell's repetitions it was a try at")
    superseded: bool = Field(
        False,
        description="Of another plan or image, before the run was resumed: paid, and does not count",
    )
    outcome: Outcome
    cause: Cause | None = None
    message: str | None = None
    started_at: datetime
    duration_seconds: Seconds
    retry_after_seconds: Seconds | None = Field(
        None, description="What whoever refused asked to be left alone for"
    )
    worker: int = Field(description="Which of the parallel workers ran it, from 0")
    run_offset_seconds: Seconds = Field(description="The attempt's start, counted from the run's")
    phases: Phases = Phases()
    steps: list[Step] = []
    cost_usd: Money | None = None
    tokens: Tokens | None = None
    llm_calls: list[LlmCall] | None = Field(
        None, description="Our own count; null with a real model whose calls are not recorded"
    )
    server: Server = Server()
    machine: str | None = Field(None, description="`uname -m` in the container")
    exit_code: int | None = None
    oom_killed: bool = False
    unpacked_bytes: int | None = None
    dormant_memory_bytes: int | None = Field(
        None, description="What the container held once its server was dormant, without the page cache"
    )
    api: Api | None = Field(None, description="Where the server described its API, and the scenario asked")
    image_labels: dict[str, str] = {}
    folder: str = Field(description="Where the attempt's files lie, relative to the run's folder")
    log_excerpt: str | None = Field(None, description="The log around the failure, bounded; hostile")
    log_bytes: int | None = Field(None, description="What the container printed, as text without secrets")
    log_dropped_bytes: int = Field(0, description="So much of its middle is not in server.log")
    log_complete: bool = Field(True, description="False where the engine may have lost more of it")
    script: ScriptRun | None = Field(None, description="Where the scenario is an example script")


class Spread(Model):
    """Of the repetitions that passed, seconds."""

    min: Seconds
    median: Seconds
    max: Seconds


class MoneySpread(Model):
    """Of the repetitions that passed and know their cost, US dollars."""

    min: Money
    median: Money
    max: Money


class Repeat(Model):
    """What --repeat found: the pass rate is ``passed`` of ``runs``."""

    planned: int
    runs: int = Field(description="Repetitions that came to an outcome")
    passed: int
    duration: Spread | None = None
    cost: MoneySpread | None = None


class Evidence(Model):
    """The cell of another run whose pass stands for this one."""

    run: str
    cell: str
    finished_at: datetime
    folder: str | None = Field(
        None, description="That run's folder, relative to this one's; null where it is out of reach"
    )
    api: Api | None = Field(
        None, description="What its server described; the file is this run's own, relative to its folder"
    )


class Cell(Model):
    id: str
    axes: dict[str, str]
    scenario: str
    scenario_version: str | None = Field(None, description="Another one asserts something else")
    key: str | None = Field(
        None, description="sha256 of everything that can change the outcome; null where that is not known"
    )
    model: str | None = Field(None, description="That answered here; null: not known but for the run's")
    outcome: Outcome
    flaky: bool = Field(False, description="Passed, after an attempt in which the product failed")
    reused: bool = Field(
        False, description="Finished before the run was resumed, or in another run, and not run again"
    )
    reused_from: Evidence | None = Field(None, description="Where another run's pass is what counts")
    cause: Cause | None = None
    message: str | None = None
    emulated: bool
    platform: str
    image: Image
    cost_usd: Money | None = None
    tokens: Tokens | None = None
    duration_seconds: Seconds
    phases: Phases = Phases()
    attempt: int | None = Field(
        None,
        description="Number of the attempt that counts: the last, or of repetitions the worst one's last",
    )
    steps: list[Step] = Field([], description="Those of the attempt that counts")
    attempts: list[Attempt] = []
    repeat: Repeat | None = Field(None, description="Where the cell was run more than once on purpose")
    server: Server = Server()

    @property
    def counted_attempt(self) -> Attempt | None:
        """The attempt that counts; None where there was none."""
        counts = next((one for one in self.attempts if one.number == self.attempt), None)
        return counts or (self.attempts[-1] if self.attempts else None)


class SettingValue(Model):
    value: Any
    source: str = Field(description="default, file, profile NAME, environment, command line or resumed run")


class EngineFacts(Model):
    name: str
    version: str
    api_version: str
    platform: str
    operating_system: str
    kernel: str
    storage_driver: str
    cpus: int
    memory_bytes: int


class Llm(Model):
    kind: str = Field(description="stand-in, provider for a real model, or replay of a recording")
    model: str
    base_url: str | None = None


class Totals(Model):
    cells: int
    left_out: int = Field(0, description="Cells of the matrix that --only and --skip left out of this run")
    passed: int = 0
    failed: int = 0
    error: int = 0
    unsupported: int = 0
    cancelled: int = 0
    not_run: int = 0
    flaky: int = Field(0, description="Of the passed ones")
    reused: int = 0
    cost_usd: Money | None = Field(
        None, description="Exact sum of what is known; null when conversations were held and none knows"
    )
    cost_unknown_cells: int = Field(0, description="Cells that ran a conversation and do not know its cost")


class Run(Model):
    id: str
    started_at: datetime
    resumed_at: list[datetime] = Field([], description="When it was taken up again after an interruption")
    finished_at: datetime | None = None
    duration_seconds: Seconds
    verdict: Outcome = Field(description="passed, failed, error or cancelled, of the run as a whole")
    reason: str = Field(description="One sentence: why the verdict is what it is")
    exit_code: int
    interrupted: bool = False
    axes: dict[str, list[str]]
    settings: dict[str, SettingValue]
    matrix_file: str
    subject: str = Field(description="What was tested: the image with its ref, such as repo:1.58.2-{variant}")
    command: list[str] = Field(description="The command line, as it was typed")
    engine: EngineFacts
    llm: Llm
    program_version: str
    emulated_cpu: str | None = Field(None, description="QEMU_CPU given to emulated cells")
    workers: int
    beside: str | None = Field(None, description="The run that was made side by side with this one")
    for_comparison: bool = Field(
        False, description="It was made only so that the run in `beside` could be compared with it"
    )
    totals: Totals

    @property
    def ref(self) -> str | None:
        """What was tested, where the image is the same but for this setting."""
        ref, image = self.settings.get("ref"), self.settings.get("image")
        return str(ref.value) if ref and ref.value and image and "{ref}" in str(image.value) else None

    def model_of(self, cell: Cell) -> str:
        """What answered in one of its cells, and how, such as ``openai/gpt-4o (stand-in)``."""
        return f"{cell.model or self.llm.model} ({self.llm.kind})"


class Results(Model):
    """The whole of results.json."""

    schema_version: int = SCHEMA_VERSION
    run: Run
    cells: list[Cell]
