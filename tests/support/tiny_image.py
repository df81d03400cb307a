"""A real image of one static program: Debian's busybox, and a script whose first argument says what to do.

The script's verbs are those of ``support.engines.PROGRAMS``, which the fake engine runs: the conformance
suite gives both engines the same commands.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import subprocess
import tarfile
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from support.real_registry import OCI_IMAGE, RealRegistry

CACHE = Path.home() / ".cache" / "e2e-matrix" / "tests"
PORT = 8000
APPLETS = (
    "sh",
    "sleep",
    "echo",
    "cat",
    "dd",
    "httpd",
    "id",
    "uname",
    "nc",
    "head",
    "tr",
    "printf",
    "tail",
    "yes",
)

PROGRAM = f"""#!/bin/sh
case "$1" in
  exit) exit "$2" ;;
  exit-after) /bin/sleep "$2"; exit "$3" ;;
  print) echo "$2"; echo "$3" >&2; exit 0 ;;
  print-and-stay) echo "$2"; exec /bin/tail -f /dev/null ;;
  flood) /bin/head -c "$2" /dev/zero | /bin/tr '\\0' x; echo; echo end; exit 0 ;;
  count) i=0; while [ $i -lt "$2" ]; do echo "line $i"; echo "error $i" >&2
    [ "$3" = 0 ] || /bin/sleep "$3"; i=$((i+1)); done; exit 0 ;;
  gush) /bin/yes "$3" | /bin/head -c "$2"; exit 0 ;;
  not-text) for i in 1 2 3 4 5 6; do /bin/printf '\\377 %s \\303\\n' $i; /bin/sleep 0.3; done; exit 0 ;;
  environment) /bin/printf %s "$GREETING"; exit 0 ;;
  read) exec /bin/cat "$2" ;;
  write) /bin/printf %s "$3" > "$2"; exit ;;
  stay) trap 'exit 0' TERM; while :; do /bin/sleep 0.02; done ;;
  deaf) trap '' TERM; while :; do /bin/sleep 0.02; done ;;
  serve) exec /bin/httpd -f -p {PORT} -h /www ;;
  eat) exec /bin/tail /dev/zero ;;
  sleep) exec /bin/sleep "$2" ;;
esac
exit 64
"""


def busybox() -> bytes:
    """The statically linked binary of Debian's package, fetched once."""
    kept = CACHE / "busybox-static"
    if not kept.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory() as folder:
            fetching = subprocess.run(
                ["apt-get", "download", "busybox-static"], cwd=folder, check=False, capture_output=True
            )
            assert fetching.returncode == 0, f"apt-get update may help: {fetching.stderr.decode()}"
            package = next(Path(folder).glob("busybox-static*.deb"))
            subprocess.run(["dpkg-deb", "-x", package, f"{folder}/tree"], check=True)
            fetched = Path(folder, "tree/bin/busybox")
            if not fetched.exists():
                fetched = Path(folder, "tree/usr/bin/busybox")
            half = kept.with_suffix(".part")
            half.write_bytes(fetched.read_bytes())
            half.rename(kept)
    return kept.read_bytes()


def root_tar(extra: Mapping[str, bytes] | None = None) -> bytes:
    """The image's file system; ``extra`` adds executable files by path."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        files = {"bin/busybox": busybox(), "program": PROGRAM.encode(), "www/index.html": b"hello\n"}
        for path, content in {**files, **(extra or {})}.items():
            entry = tarfile.TarInfo(path)
            entry.size, entry.mode = len(content), 0o755
            tar.addfile(entry, io.BytesIO(content))
        for name in APPLETS:
            link = tarfile.TarInfo(f"bin/{name}")
            link.type, link.linkname = tarfile.SYMTYPE, "busybox"
            tar.addfile(link)
    return packed.getvalue()


def push(
    registry: RealRegistry,
    repository: str,
    platform: str = "linux/amd64",
    *,
    root: bytes | None = None,
    config: Mapping[str, Any] | None = None,
) -> str:
    """Push the image; its reference, ``host/repository@sha256:...``. ``config`` overrides."""
    content = root if root is not None else root_tar()
    system, _, architecture = platform.partition("/")
    image = {
        "os": system,
        "architecture": architecture,
        "rootfs": {"type": "layers", "diff_ids": [_digest(content)]},
        "config": {
            "Entrypoint": ["/program"],
            "Cmd": ["stay"],
            "Env": ["PATH=/bin", "GREETING=hello"],
            "Labels": {"tiny": "yes"},
            "User": "1234",
            **(config or {}),
        },
    }
    pushed_config = registry.blob(repository, json.dumps(image).encode())
    layer = registry.blob(repository, gzip.compress(content, 1, mtime=0))
    manifest = {
        "schemaVersion": 2,
        "mediaType": OCI_IMAGE,
        "config": pushed_config | {"mediaType": "application/vnd.oci.image.config.v1+json"},
        "layers": [layer | {"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip"}],
    }
    body = json.dumps(manifest).encode()
    registry.http.put(
        f"/v2/{repository}/manifests/{_digest(body)}", content=body, headers={"Content-Type": OCI_IMAGE}
    ).raise_for_status()
    return f"{registry.host}/{repository}@{_digest(body)}"


def _digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"
