"""`masquerade doctor`: what works on this machine, and how to add what does not."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass

import tyro
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from tyro.conf import FlagCreatePairsOff

from masquerade.errors import MasqueradeError
from masquerade.pipeline.receipt import library_versions


@dataclass(frozen=True, kw_only=True)
class Options:
    """List what works on this machine.

    Args:
        json: print JSON and nothing else.
    """

    json: bool = False


@dataclass(frozen=True)
class Finding:
    """One thing that was checked, and what adds it where it is missing.

    Args:
        needed: whether `masquerade anonymize` with its defaults fails without it.
    """

    name: str
    here: bool
    detail: str
    mend: str = ""
    needed: bool = False


def main(argv: list[str]) -> int:
    """Run the verb; 3 if something that the defaults need is missing."""
    options = tyro.cli(Options, args=argv, prog="masquerade doctor", config=(FlagCreatePairsOff,))
    findings = [*_packages(), *_models(), *_devices(), *_codecs()]
    if options.json:
        print(json.dumps([asdict(finding) for finding in findings], indent=1))
    else:
        table = Table("", "what", "found", "to add it")
        for finding in findings:
            mend = "" if finding.here else escape(finding.mend)
            mark = "[green]yes" if finding.here else ("[red]NO" if finding.needed else "[yellow]no")
            table.add_row(mark, finding.name, escape(finding.detail), mend)
        Console().print(table)
    return 0 if all(finding.here or not finding.needed for finding in findings) else 3


def _packages() -> list[Finding]:
    found = [Finding(name, True, version) for name, version in library_versions().items()]
    zoo = importlib.util.find_spec("torchvision") is not None
    mend = 'pip install "masquerade[zoo]" (replaces a CPU build of torch)'
    detail = "people by Mask R-CNN" if zoo else "only for people by Mask R-CNN"
    return [*found, Finding("torchvision", zoo, detail, mend)]


def _models() -> list[Finding]:
    from masquerade.regions.faces import CENTERFACE_INSTALL, centerface_file

    try:
        size = centerface_file().stat().st_size
    except MasqueradeError as error:
        return [Finding("face model", False, str(error), CENTERFACE_INSTALL, needed=True)]
    return [Finding("face model", True, f"CenterFace, {size / 1e6:.1f} MB, MIT licence")]


def _devices() -> list[Finding]:
    import torch

    cuda = torch.cuda.is_available()
    name = torch.cuda.get_device_name() if cuda else "networks run on the CPU"
    cores = f"{os.cpu_count()} cores, {shutil.disk_usage('.').free / 1e9:.0f} GB free here"
    mend = "an NVIDIA driver and a CUDA build of torch"
    return [Finding("processor", True, cores), Finding("CUDA GPU", cuda, name, mend)]


def _codecs() -> list[Finding]:
    from masquerade.video.encoding import CODECS, Encoding, check_encoder

    def works(encoding: Encoding) -> Callable[[], None]:
        return lambda: check_encoder(encoding, width=256, height=256, deep=False)

    tries = {f"encode {codec}": works(Encoding(codec=codec)) for codec in CODECS}  # type: ignore[arg-type]
    tries["encode h264 on a GPU"] = works(Encoding(hwaccel="cuda"))
    found = []
    for name, attempt in tries.items():
        try:
            attempt()
            found.append(Finding(name, True, "tried"))
        except MasqueradeError as error:
            mend = "an NVIDIA GPU with an encoder" if "GPU" in name else "pip install --upgrade av"
            found.append(Finding(name, False, str(error), mend, needed=name == "encode h264"))
    return found
