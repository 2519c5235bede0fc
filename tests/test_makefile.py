"""The Makefile where the path of the checkout holds blanks."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
MAKE = shutil.which("make") or "make"
OF_MAKE = {"MAKEFLAGS", "MFLAGS", "MAKEOVERRIDES", "VENV"}  # of the one that runs the tests
PACKED = "package/objectron_solution_packed_assets.data"
PYTHON = """#!/bin/sh
mkdir -p "$3/bin" && printf '#!/bin/sh\\n' > "$3/bin/pip" && chmod +x "$3/bin/pip"
"""  # `python -m venv FOLDER`
NPM = '#!/bin/sh\ncp "$PACKAGE" package.tgz && echo package.tgz\n'


@pytest.mark.skipif(shutil.which("make") is None, reason="there is no make here")
def test_nothing_beside_a_checkout_is_removed(tmp_path: Path) -> None:
    """Unquoted, `Videos 2024/checkout/.venv` removed the whole of `Videos`."""
    checkout = tmp_path / "Videos 2024" / "checkout"
    checkout.mkdir(parents=True)
    for name in ("Makefile", "pyproject.toml"):
        shutil.copy(ROOT / name, checkout)
    videos = tmp_path / "Videos"
    videos.mkdir()
    (videos / "raw.mp4").write_bytes(b"raw")
    tools = tmp_path / "tools"
    tools.mkdir()
    for name, text in (("python", PYTHON), ("npm", NPM)):
        (tools / name).write_text(text)
        (tools / name).chmod(0o755)
    package, network = tmp_path / "package.tgz", b"the network"
    with tarfile.open(package, "w:gz") as archive:
        part = tarfile.TarInfo(PACKED)
        part.size = 184 + len(network)
        archive.addfile(part, io.BytesIO(bytes(184) + network))

    own = {key: value for key, value in os.environ.items() if key not in OF_MAKE}
    environment = own | {"PATH": f"{tools}:{os.environ['PATH']}", "PACKAGE": str(package)}
    words = [MAKE, ".venv/ready", f"PYTHON={tools / 'python'}"]
    done = subprocess.run(words, cwd=checkout, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (videos / "raw.mp4").read_bytes() == b"raw"
    assert sorted(path.name for path in videos.parent.iterdir()) == [
        "Videos", "Videos 2024", "package.tgz", "tools",
    ]  # fmt: skip
    assert [path.name for path in (checkout / ".venv/share/masquerade").iterdir()] == [
        "object_detection_ssd_mobilenetv2_oidv4_fp16.tflite"
    ]
    (found,) = (checkout / ".venv/share/masquerade").iterdir()
    assert found.read_bytes() == network


@pytest.mark.skipif(shutil.which("make") is None, reason="there is no make here")
def test_an_environment_whose_path_has_a_blank_is_refused() -> None:
    words = [MAKE, "-n", "clean", "VENV=my env"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2 and "name another folder" in done.stderr
