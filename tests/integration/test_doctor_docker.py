"""Doctor on the real engine of this machine."""

from __future__ import annotations

import json
import os
import subprocess
import sys

from e2e_matrix.engine.docker import DockerEngine
from support.real_registry import RealRegistry


def test_this_machine_can_run_its_own_platform(
    docker_engine: DockerEngine, tiny_registry: RealRegistry
) -> None:
    command = [sys.executable, "-m", "e2e_matrix", "doctor", "--registry", tiny_registry.host]
    ended = subprocess.run([*command, "--format", "json"], capture_output=True, text=True, check=False)
    checks = {check["name"]: check for check in json.loads(ended.stdout)["checks"]}
    info = docker_engine.info()
    assert ended.returncode == 0, checks
    assert info.version in checks["engine"]["detail"]
    assert info.root_dir in checks["storage"]["detail"]
    assert checks[info.platform]["detail"].startswith("native")
    assert checks["registry"]["detail"] == f"{tiny_registry.host} answers"

    shown = subprocess.run(
        command, capture_output=True, text=True, check=True, env={**os.environ, "NO_COLOR": "1"}
    ).stdout
    assert shown.rstrip().endswith("A run is possible.")
    assert "\x1b" not in shown
