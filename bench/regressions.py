"""Whether a comparison calls noise a regression, and finds a server that boots 30% slower.

python bench/regressions.py [--rounds 20] [--repeat 6] [--folder DIR] [--judge]

Each round runs the matrix twice on the real server, baseline and candidate side by side: on the same image,
and on one whose entrypoint computes first, for 30% of the time that the server takes to boot. It computes and
does not sleep, so that what slows the machine slows it as well. What the runs leave in DIR is judged by the
program's own rule, with its own thresholds.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from e2e_matrix import store
from e2e_matrix.compare import compare_runs
from e2e_matrix.local import images, oci, push
from e2e_matrix.local.oci import BlobStore, Document
from e2e_matrix.local.registry_server import LocalRegistry
from e2e_matrix.regression import Difference, Judgement, Policy, judge
from e2e_matrix.results import Results

CELL = "python-amd64"
SHARE = 0.3
PROGRAM = Path(sys.executable).with_name("e2e-matrix")
# Some steps of work in which nothing is waited for.
WORK = "n = 0\nfor i in range({steps}): n += i * i"
STEPS = 3_000_000


@dataclass(frozen=True)
class Slow:
    """What is pushed: the images of a build with another entrypoint, under tags of their own."""

    sha: str
    repository: str
    images: tuple[images.Image, ...]
    tags: dict[str, Document]
    blobs: BlobStore


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--repeat", type=int, default=6)
    parser.add_argument("--folder", type=Path, default=None)
    parser.add_argument("--judge", action="store_true", help="judge what lies in DIR, and run nothing")
    told = parser.parse_args()
    folder = told.folder or Path(tempfile.mkdtemp(prefix="regressions-"))
    if not told.judge:
        built = images.build(["python"], ["amd64"])
        with LocalRegistry() as registry:
            published = push.publish(built, registry.host)
            base, template = published.sha[:7], f"{published.repository}:{{ref}}-{{variant}}"
            steps = calibrate(published.reference("python"))
            push.publish(slowed(built, steps), registry.host)
            for number in range(1, told.rounds + 1):
                for kind, ref in (("same", base), ("slower", "slower")):
                    run(template, ref, base, told.repeat, folder / kind / f"{number:02}")
                show(folder, number)
    report(folder)


def calibrate(image: str) -> int:
    """How many steps of WORK take as long as SHARE of a boot; both measured in turns, in the image."""
    boots, works = [], []
    for _ in range(3):
        boots.append(timed_boot(image))
        begin = time.monotonic()
        subprocess.run(
            ["docker", "run", "--rm", "--entrypoint", "python3", image, "-c", WORK.format(steps=STEPS)],
            check=True,
        )
        works.append(time.monotonic() - begin)
    idle = []
    for _ in range(3):
        begin = time.monotonic()
        subprocess.run(["docker", "run", "--rm", "--entrypoint", "python3", image, "-c", "0"], check=True)
        idle.append(time.monotonic() - begin)
    boot, start = statistics.median(boots), statistics.median(idle)
    steps = round(STEPS * SHARE * boot / (statistics.median(works) - start))
    print(f"a boot takes {boot:.2f} s: {steps:,} steps of work before it are {SHARE:.0%} more", flush=True)
    return steps


def timed_boot(image: str) -> float:
    begin = time.monotonic()
    container = subprocess.run(
        ["docker", "run", "-d", "-e", "OH_DEFERRED_INIT=true", "-e", "OH_SECRET_KEY=k",
         "-e", "LITELLM_LOCAL_MODEL_COST_MAP=True", image, "--host", "0.0.0.0", "--port", "8000"],
        check=True, capture_output=True, text=True,
    ).stdout.strip()  # fmt: skip
    try:
        asking = "until curl -sf localhost:8000/api/init; do sleep 0.05; done"
        subprocess.run(
            ["docker", "exec", container, "sh", "-c", asking], check=True, capture_output=True, timeout=120
        )
        return time.monotonic() - begin
    finally:
        subprocess.run(["docker", "rm", "-f", container], check=True, capture_output=True)


def slowed(built: images.BuildResult, steps: int) -> Slow:
    """The same image with an entrypoint that computes, and then is the server."""
    [image] = [one for one in built.images if (one.variant, one.arch) == ("python", "amd64")]
    config = json.loads(image.config.content)
    script = f'python3 -c "{WORK.format(steps=steps)}"; exec openhands-agent-server "$@"'
    config["config"]["Entrypoint"] = ["tini", "--", "sh", "-c", script, "sh"]
    document = Document(image.config.media_type, json.dumps(config).encode())
    manifest = oci.manifest(document, image.layers)
    made = images.Image("python", "amd64", document, manifest, image.layers)
    index = oci.index({"amd64": manifest})
    tags = {"slower-python-amd64": manifest, "slower-python": index}
    return Slow("slower", built.repository, (made,), tags, built.blobs)


def run(template: str, ref: str, base: str, repeat: int, folder: Path) -> None:
    command = [
        str(PROGRAM),
        "run",
        "--quiet",
        f"--image={template}",
        f"--ref={ref}",
        f"--baseline-ref={base}",
    ]
    options = [f"--only={CELL}", f"--repeat={repeat}", f"--reports={folder}"]
    ended = subprocess.run([*command, *options], check=False, capture_output=True, text=True)
    if ended.returncode not in (0, 1):
        raise SystemExit(f"{ended.stdout}\n{ended.stderr}")


def judged(folder: Path) -> list[Difference]:
    candidate = folder / "latest"
    baseline = store.load_baseline(candidate)
    assert isinstance(baseline, Results)
    return judge(compare_runs(baseline, store.load(candidate)), Policy())


def show(folder: Path, number: int) -> None:
    for kind in ("same", "slower"):
        words = [
            f"{one.measure.name} {one.change} {one.judgement}"
            for one in judged(folder / kind / f"{number:02}")
        ]
        print(f"round {number:2} {kind:7} {', '.join(words)}", flush=True)


def report(folder: Path) -> None:
    rounds = {kind: [judged(one) for one in sorted((folder / kind).iterdir())] for kind in ("same", "slower")}
    wrong = [one for differences in rounds["same"] for one in worse(differences)]
    found = [bool(worse(differences, "boot")) for differences in rounds["slower"]]
    print(f"\nthe same image: {len(rounds['same'])} rounds, {len(wrong)} called regressions")
    for one in wrong:
        print(f"    {one.measure.name} {one.change}")
    print(f"30% slower at boot: found in {sum(found)} of {len(found)} rounds")
    for kind, many in rounds.items():
        shares = [one.share or 0.0 for each in many for one in each if one.measure.name == "boot"]
        print(f"boot, {kind}: {statistics.median(shares):+.1%} ({min(shares):+.1%} to {max(shares):+.1%})")


def worse(differences: Sequence[Difference], measure: str | None = None) -> list[Difference]:
    return [
        one for one in differences if one.judgement is Judgement.WORSE and measure in (None, one.measure.name)
    ]


if __name__ == "__main__":
    main()
