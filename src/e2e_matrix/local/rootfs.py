"""Root file systems from Debian packages, for any architecture, without running anything of theirs.

mmdebstrap(1) with ``--variant=extract`` unpacks packages and runs no maintainer script; what those would have
made and a server needs (users, the CA bundle, name service order) is written here. It is the same on every
architecture, so nothing is emulated.
"""

from __future__ import annotations

import base64
import hashlib
import re
import shlex
import shutil
import struct
from fnmatch import fnmatchcase
from pathlib import Path

from e2e_matrix.errors import InfrastructureError
from e2e_matrix.local.oci import EPOCH, Entry, directory, symlink
from e2e_matrix.local.packages import install_command
from e2e_matrix.local.process import run
from e2e_matrix.local.recipe import Recipe, Variant

#: Debian packages that building needs on this machine.
PACKAGES = ("mmdebstrap", "debian-archive-keyring")

Tree = dict[str, Entry]

_UNPACK_SECONDS = 1200.0
_MERGED = ("bin", "lib", "lib64", "sbin")
_DOWNLOADS = "e2e-matrix"
_CA_BUNDLE = "etc/ssl/certs/ca-certificates.crt"


def unpack(recipe: Recipe, arch: str, target: Path) -> None:
    """Unpack the base's packages into ``target``/base and what each variant adds into ``target``/<variant>.

    All come from one state of Debian's archive, and what a variant adds is whole packages, so they fit.
    Works as root and, where the kernel lets users have namespaces, as anybody.
    Errors: InfrastructureError with mmdebstrap's own words.
    """
    fix = f"{install_command(PACKAGES)}; if they are there, check that Debian's mirrors can be reached."
    what = f"unpacking packages of Debian {recipe.debian.suite} for {arch}"
    base = target / "base"
    base.mkdir(parents=True)
    archive = target / "base.tar"
    run(
        [
            "mmdebstrap",
            "--quiet",
            "--variant=extract",
            f"--architectures={arch}",
            f"--include={','.join(recipe.debian.packages)}",
            f"--extract-hook={_download_variants(recipe)}",
            recipe.debian.suite,
            str(archive),
        ],
        what=what,
        fix=fix,
        timeout=_UNPACK_SECONDS,
    )
    # Through an archive, as mmdebstrap makes folders only for root; device nodes are the engine's business.
    tar = ["tar", "-xf", str(archive), "--exclude=./dev/*", "--no-same-owner", "-C", str(base)]
    run(tar, what=what, fix=fix, timeout=_UNPACK_SECONDS)
    archive.unlink()
    for variant in recipe.variants:
        for package in sorted((base / _DOWNLOADS / variant).glob("*.deb")):
            extract = ["dpkg-deb", "--extract", str(package), str(target / variant)]
            run(extract, what=what, fix=fix, timeout=_UNPACK_SECONDS)
    shutil.rmtree(base / _DOWNLOADS)


def _download_variants(recipe: Recipe) -> str:
    """A shell command for mmdebstrap: each variant's packages, less the base's, into the tree ($1)."""
    base = shlex.join(recipe.debian.packages)
    return "\n".join(
        [
            "set -eu",
            'export APT_CONFIG="$MMDEBSTRAP_APT_CONFIG" LC_ALL=C',
            # What would be installed on an empty system, one name a line.
            "closure() { apt-get -s install \"$@\" | sed -n 's/^Inst \\([^ ]*\\).*/\\1/p' | sort; }",
            f'mkdir "$1/{_DOWNLOADS}"; cd "$1/{_DOWNLOADS}"; closure {base} > base',
            *(
                f"mkdir {name}; closure {base} {shlex.join(variant.packages)} | comm -13 base - > names; "
                f"(cd {name}; xargs apt-get -q download < ../names)"
                for name, variant in recipe.variants.items()
            ),
        ]
    )


def read_tree(root: Path, recipe: Recipe) -> Tree:
    """The files under ``root`` that belong into an image."""
    tree: Tree = {}
    for path in sorted(root.rglob("*")):
        name = path.relative_to(root).as_posix()
        # A package may still carry /lib/...; a folder there would replace the base's link to usr/lib.
        if name.partition("/")[0] in _MERGED and not (root / name.partition("/")[0]).is_symlink():
            name = f"usr/{name}"
        left_out = any(fnmatchcase(name, pattern) for pattern in recipe.debian.leave_out)
        if left_out and not any(fnmatchcase(name, pattern) for pattern in recipe.debian.keep):
            continue
        mode = path.lstat().st_mode & 0o5777  # all is root's: setgid would give away the wrong group
        if path.is_symlink():
            tree[name] = symlink(name, str(path.readlink()))
        elif path.is_dir():
            tree[name] = directory(name, mode)
        elif path.is_file():
            tree[name] = Entry(name, mode=mode, content=path)
    return tree


def finish_base(tree: Tree, recipe: Recipe) -> None:
    """Add what the packages' maintainer scripts would have made, the image's user and its folders."""
    user, uid = recipe.container.user, recipe.container.uid
    passwd = _text(tree, "usr/share/base-passwd/passwd.master").replace(":*:", ":x:")
    group = _text(tree, "usr/share/base-passwd/group.master").replace(":*:", ":x:")
    _put(
        tree,
        _file("etc/passwd", f"{passwd}{user}:x:{uid}:{uid}::/home/{user}:/bin/bash\n"),
        _file("etc/group", f"{group}{user}:x:{uid}:\n"),
        # Without it glibc asks DNS before /etc/hosts, where host.docker.internal is.
        _file("etc/nsswitch.conf", _text(tree, "usr/share/libc-bin/nsswitch.conf")),
        _file("etc/ssl/certs/ca-certificates.crt", _certificates(tree)),
        directory("tmp", 0o1777),
        directory("var/tmp", 0o1777),
        directory("dev"),
        directory("proc"),
        directory("sys"),
        directory(f"home/{user}", 0o755, uid),
        directory("workspace", 0o755, uid),
        *(symlink(path, target) for path, target in recipe.debian.links.items()),
    )


def finish_variant(tree: Tree, base: Tree, variant: Variant, arch: str) -> None:
    """The same for what a variant adds: commands that update-alternatives would have linked, Java's CAs."""
    _put(tree, *(symlink(path, target.format(arch=arch)) for path, target in variant.links.items()))
    if "etc/default/cacerts" in tree:
        _put(
            tree,
            directory("etc/ssl/certs/java"),
            Entry("etc/ssl/certs/java/cacerts", content=java_keystore(_certificates(base))),
        )


def _put(tree: Tree, *entries: Entry) -> None:
    tree.update({entry.path: entry for entry in entries})


def _file(path: str, text: str) -> Entry:
    return Entry(path, content=text.encode())


def _text(tree: Tree, path: str) -> str:
    try:
        return tree[path].read().decode()
    except KeyError:
        raise InfrastructureError(
            f"the Debian packages that were unpacked have no /{path}",
            "base-passwd, libc-bin and ca-certificates must be among the packages in images/images.toml.",
        ) from None


def _certificates(tree: Tree) -> str:
    paths = [path for path in tree if fnmatchcase(path, "usr/share/ca-certificates/*.crt")]
    return "".join(_text(tree, path).strip() + "\n" for path in sorted(paths))


def java_keystore(certificates: str) -> bytes:
    """The CA certificates as a JKS trust store with Debian's password, as ca-certificates-java would make it.

    The format is sun.security.provider.JavaKeyStore's: big-endian, closed by a SHA-1 over a salted password.
    """
    bodies = re.findall(r"-----BEGIN CERTIFICATE-----(.*?)-----END CERTIFICATE-----", certificates, re.DOTALL)
    data = struct.pack(">III", 0xFEEDFEED, 2, len(bodies))
    for number, body in enumerate(bodies):
        certificate = base64.b64decode(body)
        data += struct.pack(">I", 2) + _utf(f"debian-{number:03}") + struct.pack(">Q", EPOCH * 1000)
        data += _utf("X.509") + struct.pack(">I", len(certificate)) + certificate
    salted = hashlib.sha1("changeit".encode("utf-16-be") + b"Mighty Aphrodite", usedforsecurity=False)
    salted.update(data)
    return data + salted.digest()


def _utf(text: str) -> bytes:
    return struct.pack(">H", len(text)) + text.encode()
