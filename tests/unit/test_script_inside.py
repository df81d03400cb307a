"""What a script meets in its process: real scripts in real processes, a broker, and servers that answer."""

from __future__ import annotations

import os
import stat
import threading
import time
from collections.abc import Iterator

import pytest

from e2e_matrix.errors import CellFailure
from e2e_matrix.failures import Cause
from e2e_matrix.script.broker import Booted, BootRequest
from support.script_stage import CONVERSATION, Stage, http_server, stage

# As in upstream's older examples: it starts the server itself, and tries whether it is there.
INLINE_HELPER = """
    import os, signal, subprocess, sys, time
    import httpx

    class ManagedAPIServer:
        def __init__(self, port):
            self.base_url = f"http://127.0.0.1:{port}"
            self.command = ["python", "-m", "openhands.agent_server", "--port", str(port)]

        def __enter__(self):
            environment = {**os.environ, "OH_SECRET_KEY": "of the script", "OTHER": "stays"}
            self.process = subprocess.Popen(self.command, env=environment)
            in_vain = 0
            for _ in range(300):
                try:
                    if httpx.get(f"{self.base_url}/health", timeout=1.0).status_code == 200:
                        print("tries in vain while it booted:", in_vain)
                        return self
                except httpx.RequestError:
                    in_vain += os.path.exists("booting")
                if self.process.poll() is not None:
                    print("the server ended with", self.process.returncode)
                    sys.exit(3)
                time.sleep(0.1)
            sys.exit("never ready")

        def __exit__(self, *_):
            self.process.terminate()
            print("the server ended with", self.process.wait(timeout=5))
"""


@pytest.fixture
def scene() -> Iterator[Stage]:
    with stage() as made:
        yield made


def test_a_script_without_a_checkout_gets_a_server(scene: Stage) -> None:
    ended = scene.run("""
        import os, urllib.request
        from scripts.utils import ManagedAPIServer

        os.environ["OH_ENABLE_VSCODE"] = "false"
        helper = ManagedAPIServer(
            port=8003,
            extra_env={"OH_DEFERRED_INIT": "true"},
            use_session_api_key=True,
            health_request_timeout=2.0,
        )
        with helper as server:
            assert server is helper
            print(server.base_url, server.host, server.port, server.session_api_key)
            print(urllib.request.urlopen("http://localhost:8003/health").read().decode())
        try:
            urllib.request.urlopen(server.base_url)
        except OSError as error:
            print(error.reason.__class__.__name__)
    """)
    assert ended.output.splitlines() == [
        "http://127.0.0.1:8003 127.0.0.1 8003 a-session-key",
        '{"status": "ok"}',
        "ConnectionRefusedError",
    ], ended.errors
    environment = {"OH_DEFERRED_INIT": "true", "OH_ENABLE_VSCODE": "false"}
    assert scene.booted == [BootRequest(8003, "127.0.0.1", environment, True)]
    assert len(scene.stopped) == 1


def test_a_keyword_that_the_stand_in_does_not_know_is_named(scene: Stage) -> None:
    ended = scene.run("from scripts.utils import ManagedAPIServer; ManagedAPIServer(port=1, gpu=True)")
    assert "TypeError: e2e-matrix's ManagedAPIServer does not know gpu" in ended.errors
    assert scene.booted == []


@pytest.mark.parametrize("place", ["root", "beside the script", "a package of its own"])
def test_a_checkout_keeps_its_other_helpers(scene: Stage, place: str) -> None:
    root = scene.folder if place == "beside the script" else scene.folder / "root"
    (root / "scripts").mkdir(parents=True)
    (root / "scripts" / "utils.py").write_text(
        "class ManagedAPIServer:\n    def __init__(self, *_):\n        raise SystemExit('ALARM')\n"
        "def other():\n    return __file__, ManagedAPIServer.__module__\n"
    )
    if place == "a package of its own":
        (root / "scripts" / "__init__.py").write_text("here = 'the package'\n")
    ended = scene.run(f"""
        import inspect, sys
        sys.path.insert(0, {str(root)!r})
        from scripts.utils import ManagedAPIServer, other
        with ManagedAPIServer(8003) as server:
            print(server.port)
        print(*other())
        print(inspect.getmodule(other).__loader__.__class__.__name__)
    """)
    assert ended.output.splitlines() == [
        "8003",
        f"{root}/scripts/utils.py e2e_matrix_inside.managed_server",
        "SourceFileLoader",
    ], ended.errors


def test_helpers_that_cannot_be_loaded_do_not_keep_the_script_from_its_server(scene: Stage) -> None:
    (scene.folder / "scripts").mkdir()
    (scene.folder / "scripts" / "utils.py").write_text("import a_module_that_is_not_installed")
    ended = scene.run("""
        from scripts.utils import ManagedAPIServer
        with ManagedAPIServer() as server:
            print(server.base_url)
    """)
    assert ended.output == "http://127.0.0.1:8000\n"
    assert "e2e-matrix: scripts.utils could not be loaded: ModuleNotFoundError" in ended.errors


def test_the_sitecustomize_that_was_there_is_run(scene: Stage) -> None:
    theirs = scene.folder / "theirs"
    theirs.mkdir()
    (theirs / "sitecustomize.py").write_text("print('theirs')")
    paths = f"{scene.broker.environment['PYTHONPATH']}:{theirs}"
    ended = scene.run(
        "import sitecustomize; print(sitecustomize.__file__)", environment={"PYTHONPATH": paths}
    )
    assert ended.output.splitlines() == ["theirs", f"{theirs}/sitecustomize.py"]


def test_a_helper_in_the_script_waits_for_a_boot_that_outlasts_a_try(scene: Stage) -> None:
    at_once = scene.boot

    def slow(request: BootRequest) -> Booted:
        (scene.folder / "booting").touch()
        threading.Event().wait(1.3)
        return at_once(request)

    scene.boot = slow
    ended = scene.run(
        INLINE_HELPER
        + """
    with ManagedAPIServer(8765) as server:
        print(httpx.get("http://localhost:8765/health").json())
    """
    )
    # 1: a try that ended before the server was asked for, counted after it.
    lines = ended.output.replace("while it booted: 1", "while it booted: 0").splitlines()
    assert set(lines) == {
        "tries in vain while it booted: 0",
        "e2e-matrix: the container of this cell answers for http://127.0.0.1:8765",
        "{'status': 'ok'}",
        "the server ended with 0",
    }, ended.errors
    assert scene.booted == [BootRequest(8765, "127.0.0.1", {"OH_SECRET_KEY": "of the script"}, False)]
    assert len(scene.stopped) == 1


def test_a_helper_in_the_script_learns_that_the_boot_failed(scene: Stage) -> None:
    scene.boot = failing
    ended = scene.run(
        INLINE_HELPER
        + """
    ManagedAPIServer(8765).__enter__()
    """
    )
    assert ended.code == 3
    assert ended.output == "the server ended with 1\n"
    assert "The server did not start: it is broken" in ended.errors


def test_the_server_is_stood_in_for_where_it_is_installed_too(scene: Stage) -> None:
    package = scene.folder / "openhands" / "agent_server"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "__main__.py").write_text("raise SystemExit('ALARM')")
    (package / "models.py").write_text("kind = 'a model'")
    scene.boot = failing
    ended = scene.run("""
        import subprocess
        from openhands.agent_server.models import kind
        print(kind)
        for module in ("openhands.agent_server", "openhands.agent_server.__main__"):
            for command in (["-m", module], [f"-m{module}", "--port=1"]):
                ended = subprocess.run(["python", "-u", *command], stderr=subprocess.PIPE, text=True)
                print(ended.returncode, ended.stderr.strip())
    """)
    assert ended.output.splitlines() == ["a model", *["1 The server did not start: it is broken"] * 4]
    assert [request.port for request in scene.booted] == [8000, 1, 8000, 1]


def test_a_failed_boot_is_an_error_in_the_script_and_a_failure_for_the_cell(scene: Stage) -> None:
    scene.boot = failing
    ended = scene.run("""
        from scripts.utils import ManagedAPIServer
        try:
            with ManagedAPIServer(8003):
                pass
        except RuntimeError as error:
            print(error)
    """)
    assert ended.output == "The server did not start: it is broken\n"
    assert [failure.message for failure in scene.broker.failures] == ["it is broken"]
    assert scene.stopped == []


def test_the_server_of_a_script_that_crashes_is_stopped(scene: Stage) -> None:
    ended = scene.run("""
        import os
        from scripts.utils import ManagedAPIServer
        with ManagedAPIServer(8003):
            os.kill(os.getpid(), 9)
    """)
    assert ended.code == -9
    assert len(scene.stopped) == 1


def test_a_script_may_have_two_servers_but_not_on_one_port(scene: Stage) -> None:
    with http_server() as second:
        urls = iter([scene.boot(BootRequest(1, "", {}, False)).base_url, second])
        scene.boot = lambda request: Booted(next(urls), None)
        ended = scene.run("""
            import httpx
            from scripts.utils import ManagedAPIServer
            with ManagedAPIServer(8001) as one, ManagedAPIServer(8002) as two:
                for server in one, two, one:
                    httpx.get(server.base_url + "/health")
                try:
                    ManagedAPIServer(8001).__enter__()
                except RuntimeError as error:
                    print(error)
        """)
    assert ended.output == "The server did not start: another server of this script has port 8001\n"
    first = scene.calls[0].base_url
    assert [call.base_url for call in scene.calls] == [first, second, first]
    assert [booted.base_url for booted in scene.stopped] == [second, first]


@pytest.mark.parametrize("client", ["httpx", "httpx-async", "urllib", "requests"])
def test_the_trace_tells_of_requests_and_nothing_of_their_bodies(scene: Stage, client: str) -> None:
    before = time.monotonic()
    ended = scene.run(f"""
        import asyncio, json, httpx, requests, urllib.error, urllib.request
        from scripts.utils import ManagedAPIServer

        def by_urllib(method, url, body):
            request = urllib.request.Request(url, body, {{"X-Session-API-Key": "k"}}, method=method)
            try:
                return json.load(urllib.request.urlopen(request))
            except urllib.error.HTTPError as error:
                return json.load(error)

        def by_requests(method, url, body):
            return requests.request(method, url, data=body, headers={{"X-Session-API-Key": "k"}}).json()

        def by_httpx(method, url, body):
            return httpx.request(method, url, content=body, headers={{"X-Session-API-Key": "k"}}).json()

        def by_httpx_async(method, url, body):
            async def ask():
                async with httpx.AsyncClient(headers={{"X-Session-API-Key": "k"}}) as client:
                    return (await client.request(method, url, content=body)).json()
            return asyncio.run(ask())

        ask = by_{client.replace("-", "_")}
        with ManagedAPIServer(8003) as server:
            url = f"{{server.base_url}}/api/conversations"
            id = ask("POST", url, b"private")["id"]
            print(ask("GET", f"{{url}}/{{id}}?query=private", None)["execution_status"])
            print(ask("GET", f"{{url}}/none", None))
            try:
                ask("GET", server.base_url + "/hang-up", None)
            except (OSError, httpx.HTTPError):
                print("hung up")
    """)
    assert ended.output.splitlines() == ["finished", "None", "hung up"], ended.errors
    assert scene.seen() == [
        ("POST", "/api/conversations", 201),
        ("GET", f"/api/conversations/{CONVERSATION}", 200),
        ("GET", "/api/conversations/none", 404),
        ("GET", "/hang-up", None),
    ]
    assert [call.conversation for call in scene.calls] == [CONVERSATION, CONVERSATION, None, None]
    assert [call.execution_status for call in scene.calls] == [None, "finished", None, None]
    assert {call.session_key for call in scene.calls} == {"k"}
    for call in scene.calls:
        assert before < call.started < call.ended < time.monotonic()
    assert "private" not in repr(scene.calls)
    assert "of the body" not in repr(scene.calls)


def test_a_streamed_answer_and_one_of_somebody_else_are_left_alone(scene: Stage) -> None:
    with http_server() as other:
        ended = scene.run(f"""
            import httpx
            from scripts.utils import ManagedAPIServer
            with ManagedAPIServer(8003) as server, httpx.Client() as client:
                with client.stream("GET", server.base_url + "/api/conversations/{CONVERSATION}") as response:
                    print(b"".join(response.iter_raw()).decode())
                print(client.get("{other}/health").status_code)
        """)
    assert ended.output.splitlines() == ['{"execution_status": "finished", "secret": "of the body"}', "200"]
    assert scene.seen() == [("GET", f"/api/conversations/{CONVERSATION}", 200)]


def test_requests_to_a_server_that_died_are_told_as_without_an_answer(scene: Stage) -> None:
    with http_server() as gone:
        pass
    scene.boot = lambda request: Booted(gone, None)
    ended = scene.run("""
        import httpx, urllib.request
        from scripts.utils import ManagedAPIServer
        with ManagedAPIServer(8003) as server:
            for ask, refused in (httpx.get, httpx.ConnectError), (urllib.request.urlopen, OSError):
                try:
                    ask(server.base_url + "/health?a=b")
                except refused:
                    print("refused")
    """)
    assert ended.output.split() == ["refused"] * 2, ended.errors
    assert scene.seen() == [("GET", "/health", None)] * 2


def test_requests_of_forked_and_started_children_are_told_too(scene: Stage) -> None:
    ended = scene.run("""
        import os, subprocess, sys, urllib.request
        from e2e_matrix_inside import trace
        from scripts.utils import ManagedAPIServer
        with ManagedAPIServer(8003) as server:
            ask = f"import urllib.request; urllib.request.urlopen('{server.base_url}/health?started')"
            urllib.request.urlopen(server.base_url + "/health")
            held = trace._teller._lock
            held.acquire()  # as another thread may at this moment
            if os.fork() == 0:
                urllib.request.urlopen(server.base_url + "/health")
                os._exit(0)
            held.release()
            os.wait()
            subprocess.run([sys.executable, "-c", ask], check=True)
    """)
    assert ended.code == 0, ended.errors
    assert scene.seen() == [("GET", "/health", 200)] * 3


def test_the_cell_s_own_server_is_found_at_its_address_and_at_the_default_one(scene: Stage) -> None:
    booted = scene.boot(BootRequest(None, "", {}, False))
    scene.broker.serve_first(booted)
    ended = scene.run(f"""
        import socket, urllib.request
        for url in "{booted.base_url}", "http://localhost:8000", "http://0.0.0.0:8000", "http://[::1]:8000":
            print(urllib.request.urlopen(url + "/health").status)
        print(socket.socket().connect_ex(("127.0.0.1", 8000)))
    """)
    assert ended.output.split() == ["200"] * 4 + ["0"], ended.errors
    assert [call.base_url for call in scene.calls] == [booted.base_url] * 4


def test_a_script_goes_on_without_the_runner(scene: Stage) -> None:
    def leave() -> None:
        if (scene.folder / "booted").exists():
            scene.broker.close()

    scene.beside = leave
    url = scene.boot(BootRequest(None, "", {}, False)).base_url
    ended = scene.run(f"""
        import pathlib, socket, time, urllib.request
        from scripts.utils import ManagedAPIServer
        import os
        with ManagedAPIServer(8003) as server:
            urllib.request.urlopen(server.base_url + "/health")
            pathlib.Path("booted").touch()
            line = os.path.join(os.environ["E2E_MATRIX_LINE"], "broker.sock")
            while os.path.exists(line):
                time.sleep(0.01)
            print(urllib.request.urlopen("{url}/health").status)
        try:
            ManagedAPIServer(8004).__enter__()
        except RuntimeError as error:
            print(error)
    """)
    assert ended.output.splitlines()[0] == "200", ended.errors
    assert ended.output.splitlines()[1].startswith("e2e-matrix cannot be asked for a server any more")
    assert ended.errors == ""


def test_who_waits_for_a_boot_when_the_runner_goes_waits_no_longer(scene: Stage) -> None:
    def leave(request: BootRequest) -> Booted:
        for _ in range(500):
            if (scene.folder / "connecting").exists():
                break
            threading.Event().wait(0.01)
        threading.Event().wait(0.3)
        scene.broker.close()
        raise CellFailure(Cause.INTERRUPTED, "stopped")

    scene.boot = leave
    ended = scene.run("""
        import os, pathlib, socket, threading, time
        from scripts.utils import ManagedAPIServer

        def start():
            try:
                ManagedAPIServer(8003).__enter__()
            except RuntimeError:
                print("no server")

        threading.Thread(target=start).start()
        ports = pathlib.Path(os.environ["E2E_MATRIX_LINE"], "ports.json")
        while not ports.exists() or "8003" not in ports.read_text():
            time.sleep(0.01)
        began = time.monotonic()
        pathlib.Path("connecting").touch()
        print(socket.socket().connect_ex(("127.0.0.1", 8003)))
        print("waited" if time.monotonic() - began > 0.2 else "did not wait")
    """)
    assert sorted(ended.output.splitlines()) == ["111", "no server", "waited"], ended.errors


def test_what_the_script_makes_for_the_server_is_open_to_it(scene: Stage) -> None:
    tmp, home = scene.folder / "tmp", scene.folder / "home"
    for folder in (tmp, home):
        folder.mkdir()
    before = os.umask(0o027)
    try:
        ended = scene.run(
            """
            import os, pathlib, tempfile
            made = [tempfile.mkdtemp(), pathlib.Path.home() / "a" / "b", pathlib.Path("elsewhere")]
            os.makedirs(made[1], mode=0o700)
            made[2].mkdir(mode=0o700)
            files = [tempfile.mkstemp()[1], pathlib.Path(made[0]) / "file", made[2] / "file"]
            files[1].write_text("for the agent to change")
            os.close(os.open(files[2], os.O_CREAT | os.O_WRONLY, 0o600))
            print(*made, made[1].parent, *files, sep="\\n")
            """,
            environment={"TMPDIR": str(tmp), "HOME": str(home)},
        )
    finally:
        os.umask(before)
    modes = [stat.S_IMODE((scene.folder / name).stat().st_mode) for name in ended.output.splitlines()]
    assert modes == [0o777, 0o777, 0o700, 0o777, 0o666, 0o666, 0o600], ended.errors


def failing(request: BootRequest) -> Booted:
    raise CellFailure(Cause.NOT_STARTABLE, "it is broken")
