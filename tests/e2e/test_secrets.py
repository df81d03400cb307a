"""Keys with signs that every encoding changes, and a server that prints them: they are found nowhere."""

from __future__ import annotations

import base64
import html
import json
import os
import re
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import quote, quote_plus

import docker
import pytest

from e2e_matrix.engine.base import LABEL_RUN
from e2e_matrix.engine.docker import DockerEngine
from e2e_matrix.local.contract import ContractImages
from support.real_runs import PROGRAM, ROOT

KEY = 'sk-te"st/+42 &=%<é>\\key'
pytestmark = pytest.mark.timeout(300)


class Provider(BaseHTTPRequestHandler):
    """Answers 42 to whoever has the key, or refuses and quotes it, as providers do."""

    refusing = False

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        sent = self.headers.get("Authorization", "")
        if self.refusing or sent != f"Bearer {KEY}":
            self._answer(400, {"error": {"message": f"Incorrect request by {sent}", "code": "invalid"}})
            return
        message = {"role": "assistant", "content": "42"}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        usage = {"prompt_tokens": 14, "completion_tokens": 2, "total_tokens": 16}
        answer = {"id": "c", "object": "chat.completion", "created": 1, "model": "m", "usage": usage}
        self._answer(200, {**answer, "choices": [choice]})

    def _answer(self, status: int, body: object) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def provider(gateway: str, refusing: bool) -> Iterator[str]:
    handler = type("Provider", (Provider,), {"refusing": refusing})
    with ThreadingHTTPServer((gateway, 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://host.docker.internal:{server.server_address[1]}/v1"
        finally:
            server.shutdown()
            thread.join()


def _command_line(name: str) -> bytes:
    with suppress(OSError):  # no process, or one that has just ended
        return Path("/proc", name, "cmdline").read_bytes()
    return b""


class Leaky:
    """One run of a contract server that prints its keys, and everything that could be seen of the run."""

    def __init__(self, images: ContractImages, engine: DockerEngine, folder: Path, **llm: str) -> None:
        matrix = folder / "matrix.yaml"
        matrix.write_text(
            f'image: "{images.template}"\n'
            f"ref: {images.ref}\n"
            "matrix:\n  variant: [leaky]\n  arch: [amd64]\n"
            "environment:\n  CONTRACT_FAULT: log-secret\n"
            "scenarios:\n  deferred-init:\n"
        )
        reports = folder / "reports"
        ours = ("LLM_", "E2E_MATRIX_")
        environment = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
        process = subprocess.Popen(
            [str(PROGRAM), "run", "--matrix", str(matrix), "--reports", str(reports)],
            cwd=ROOT,
            env=environment | llm,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        self.inspected = b""
        self.init_key = ""
        with process, closing(docker.from_env()) as client:
            end = time.monotonic() + 60
            while not self.inspected and process.poll() is None and time.monotonic() < end:
                for run in reports.glob("2*"):
                    for found in engine.list({LABEL_RUN: run.name}):
                        with suppress(docker.errors.NotFound):  # removed since it was listed
                            self._inspect(client, found.id)
                threading.Event().wait(0.02)
            self.output, _ = process.communicate(timeout=120)
        self.exit_code = process.returncode
        [run] = reports.glob("2*")
        self.files = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
        self.log = next(content for path, content in self.files.items() if path.name == "server.log")
        self.results = json.loads((run / "results.json").read_bytes())

    def _inspect(self, client: docker.DockerClient, container: str) -> None:
        found = client.api.inspect_container(container)
        processes = b"".join(map(_command_line, sorted(path.name for path in Path("/proc").iterdir())))
        environment = dict(entry.partition("=")[::2] for entry in found["Config"].pop("Env"))
        self.init_key = environment.pop("OH_SECRET_KEY")
        self.inspected = json.dumps([found, environment], ensure_ascii=False).encode() + processes

    def everything(self) -> dict[str, bytes]:
        seen = {str(path): content for path, content in self.files.items()}
        return {**seen, "output": self.output, "inspected": self.inspected}


def forms(key: str) -> set[bytes]:
    """As a reader of the reports would look for it; not as the program itself does."""
    raw = key.encode()
    texts = {key, quote(key), quote(key, safe=""), quote_plus(key), html.escape(key), repr(key)[1:-1]}
    texts |= {json.dumps(key, ensure_ascii=ascii_only)[1:-1] for ascii_only in (True, False)}
    encoded = {base64.b64encode(raw[start : start + (len(raw) - start) // 3 * 3]) for start in range(3)}
    return {text.encode() for text in texts} | encoded | {base64.urlsafe_b64encode(raw).rstrip(b"=")}


def where(leaky: Leaky, keys: set[bytes]) -> list[tuple[str, bytes]]:
    return [(name, key) for name, content in leaky.everything().items() for key in keys if key in content]


@pytest.mark.parametrize("refusing", [False, True])
def test_the_keys_of_a_provider_and_of_init_are_written_nowhere(
    contract_images: ContractImages, engine: DockerEngine, tmp_path: Path, refusing: bool
) -> None:
    with provider(engine.host_gateway(), refusing) as url:
        leaky = Leaky(
            contract_images, engine, tmp_path, LLM_API_KEY=KEY, LLM_MODEL="openai/m", LLM_BASE_URL=url
        )
    assert leaky.exit_code in ((1, 3) if refusing else (0,)), leaky.output.decode()
    assert leaky.inspected
    assert leaky.init_key
    assert where(leaky, forms(KEY) | forms(leaky.init_key)) == []
    # Three keys, each in five ways; the halves of a sixth may have another thread's line between them.
    assert leaky.log.count(b"[hidden]") >= 15
    if refusing:
        [cell] = leaky.results["cells"]
        assert "Incorrect request by Bearer [hidden]" in cell["message"]


def test_the_stand_in_s_token_is_written_nowhere(
    contract_images: ContractImages, engine: DockerEngine, tmp_path: Path
) -> None:
    leaky = Leaky(contract_images, engine, tmp_path)
    assert leaky.exit_code == 0, leaky.output.decode()
    encoded = {base64.b64encode(b"sk-standin-")[:12], base64.b64encode(b":sk-standin-")[2:14]}
    assert where(leaky, encoded | forms(leaky.init_key)) == []
    # Half a token may be there, where the line of another thread came between it and the rest.
    whole = re.compile(rb"sk-standin-[\w-]{25}")
    assert [name for name, content in leaky.everything().items() if whole.search(content)] == []
    assert leaky.log.count(b"[hidden]") >= 15
