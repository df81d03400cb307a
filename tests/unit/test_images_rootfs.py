"""What maintainer scripts would have made, made by hand."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from e2e_matrix.errors import InfrastructureError
from e2e_matrix.local import recipe, rootfs
from e2e_matrix.local.oci import Entry
from e2e_matrix.local.process import run
from e2e_matrix.local.rootfs import Tree

RECIPE = recipe.read_recipe(recipe.default_folder())
CERTIFICATE = "-----BEGIN CERTIFICATE-----\nZGVy\n-----END CERTIFICATE-----"  # of the bytes "der"


def _base() -> Tree:
    files = {
        "usr/share/base-passwd/passwd.master": "root:*:0:0:root:/root:/bin/bash\n",
        "usr/share/base-passwd/group.master": "root:*:0:\n",
        "usr/share/libc-bin/nsswitch.conf": "hosts: files dns\n",
        "usr/share/ca-certificates/mozilla/B.crt": CERTIFICATE,
        "usr/share/ca-certificates/mozilla/A.crt": CERTIFICATE + "\n",
    }
    return {path: Entry(path, content=text.encode()) for path, text in files.items()}


def test_the_base_has_the_user_the_certificates_and_asks_the_hosts_file_first() -> None:
    tree = _base()
    rootfs.finish_base(tree, RECIPE)
    assert tree["etc/passwd"].read().decode().splitlines() == [
        "root:x:0:0:root:/root:/bin/bash",
        "openhands:x:10001:10001::/home/openhands:/bin/bash",
    ]
    assert tree["etc/group"].read().decode().endswith("openhands:x:10001:\n")
    assert tree["etc/nsswitch.conf"].read() == b"hosts: files dns\n"
    assert tree["etc/ssl/certs/ca-certificates.crt"].read().decode() == f"{CERTIFICATE}\n{CERTIFICATE}\n"
    assert tree["workspace"].owner == tree["home/openhands"].owner == 10001
    assert tree["tmp"].mode == 0o1777
    assert tree["usr/bin/python"].link == "python3"


def test_a_base_without_what_it_needs_says_which_packages_are_missing() -> None:
    tree = _base()
    del tree["usr/share/libc-bin/nsswitch.conf"]
    with pytest.raises(InfrastructureError, match="libc-bin"):
        rootfs.finish_base(tree, RECIPE)


def test_a_jdk_gets_its_commands_for_the_architecture_and_a_trust_store() -> None:
    tree: Tree = {"etc/default/cacerts": Entry("etc/default/cacerts")}
    rootfs.finish_variant(tree, _base(), RECIPE.variants["java"], "arm64")
    assert tree["usr/bin/java"].link == "../lib/jvm/java-21-openjdk-arm64/bin/java"
    store = tree["etc/ssl/certs/java/cacerts"].read()
    assert store[:12] == bytes.fromhex("feedfeed 00000002 00000002")
    assert store.count(b"\x00\x05X.509\x00\x00\x00\x03der") == 2
    salt = "changeit".encode("utf-16-be") + b"Mighty Aphrodite"
    assert store[-20:] == hashlib.sha1(salt + store[:-20]).digest()


def test_a_variant_without_java_gets_no_trust_store() -> None:
    tree: Tree = {}
    rootfs.finish_variant(tree, _base(), RECIPE.variants["golang"], "amd64")
    assert tree == {}


def test_a_tree_leaves_out_documentation_and_keeps_licences(tmp_path: Path) -> None:
    for name in ("usr/bin/tool", "usr/share/doc/tool/copyright", "usr/share/doc/tool/README", "var/log/x"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    (tmp_path / "usr/bin/tool").chmod(0o2755)
    (tmp_path / "usr/bin/link").symlink_to("tool")
    tree = rootfs.read_tree(tmp_path, RECIPE)
    files = {path for path, entry in tree.items() if (tmp_path / path).is_file()}
    assert files == {"usr/bin/tool", "usr/bin/link", "usr/share/doc/tool/copyright"}
    assert tree["usr/bin/tool"].mode == 0o755
    assert tree["usr/bin/link"].link == "tool"


def test_a_package_with_a_lib_folder_does_not_replace_the_bases_link(tmp_path: Path) -> None:
    (tmp_path / "lib/x").mkdir(parents=True)
    (tmp_path / "lib/x/y.so").touch()
    assert set(rootfs.read_tree(tmp_path, RECIPE)) == {"usr/lib", "usr/lib/x", "usr/lib/x/y.so"}


def test_a_program_that_fails_is_quoted() -> None:
    with pytest.raises(InfrastructureError, match=r"(?s)trying: sh ended with 3:.*sorry.*do that"):
        run(["sh", "-c", "echo sorry >&2; exit 3"], what="trying", fix="do that", timeout=10)


def test_a_program_that_is_missing_is_named() -> None:
    with pytest.raises(InfrastructureError, match="no mmdebstrap-missing on this machine"):
        run(["mmdebstrap-missing"], what="trying", fix="install it", timeout=10)
