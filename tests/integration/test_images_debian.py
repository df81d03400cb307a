"""Real packages, unpacked for the architecture that this machine does not have."""

from __future__ import annotations

from pathlib import Path

from e2e_matrix.local import recipe, rootfs
from e2e_matrix.local.bytecode import Interpreter, host_arch


def _recipe(packages: tuple[str, ...]) -> recipe.Recipe:
    whole = recipe.read_recipe(recipe.default_folder())
    debian = whole.debian.model_copy(update={"packages": packages})
    variant = recipe.Variant(packages=("tini", "libtinfo6"), published_base="none")
    return whole.model_copy(update={"debian": debian, "variants": {"tools": variant}})


def test_a_variant_is_its_own_packages_for_another_architecture_and_nothing_is_emulated(
    tmp_path: Path,
) -> None:
    plan = _recipe(("base-files", "base-passwd", "ca-certificates", "dash", "libc-bin", "libtinfo6"))
    rootfs.unpack(plan, "arm64", tmp_path / "out")
    base = rootfs.read_tree(tmp_path / "out/base", plan)
    rootfs.finish_base(base, plan)
    tools = rootfs.read_tree(tmp_path / "out/tools", plan)
    assert "usr/bin/tini" in tools
    assert not [path for path in tools if "libtinfo" in path or "libc.so" in path]
    assert base["bin"].link == "usr/bin"
    assert base["etc/ssl/certs/ca-certificates.crt"].read().count(b"BEGIN CERTIFICATE") > 50
    header = tools["usr/bin/tini"].read()[:20]
    assert header[:4] == b"\x7fELF"
    assert header[18] == 183  # EM_AARCH64


def test_bytecode_is_made_by_the_images_python_and_is_the_same_each_time(tmp_path: Path) -> None:
    plan = _recipe(("python3",))
    rootfs.unpack(plan, host_arch(), tmp_path / "out")
    python = Interpreter(tmp_path / "out/base", plan)
    library = tmp_path / "out/base/usr/lib" / f"python{plan.debian.python}"
    source = (library / "functools.py").read_bytes()
    made = []
    for name in ("one", "two"):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "module.py").write_bytes(source)
        (folder / "python2.py").write_text("print 'no'\n")
        python.compile(folder, "usr/lib/x")
        [compiled] = folder.glob("__pycache__/*.pyc")
        assert compiled.name == f"module.cpython-{plan.debian.python.replace('.', '')}.pyc"
        made.append(compiled.read_bytes())
        # As a build does, which has the base compiled while the server is.
        python.compile(library, "usr/lib/python")
    assert made[0] == made[1]
    assert made[0][4:8] == b"\x01\0\0\0"  # PEP 552: by hash, unchecked
    assert b"/usr/lib/x/module.py" in made[0]
    assert str(tmp_path).encode() not in made[0]
