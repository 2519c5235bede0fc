"""`masquerade doctor`: what works on this machine, and how to add what does not.

What imports torch is imported where it is used: the help does not wait for it.
"""

import importlib.util
import json
import os
import shutil
from dataclasses import asdict, dataclass
from functools import partial

from rich.console import Console
from rich.text import Text

from masquerade.cli.readable_help import Box, parse_boxes
from masquerade.cli.studio import STUDIO_INSTALL
from masquerade.errors import MasqueradeError
from masquerade.object_store import REMOTE_INSTALL
from masquerade.ray_cluster import RAY_INSTALL

STUDIO_MODULES = ("fastapi", "uvicorn")


@dataclass(frozen=True, kw_only=True)
class Options:
    """List what works on this machine."""

    json: bool = False  # print JSON and nothing else.


@dataclass(frozen=True)
class Check:
    """One thing that was checked, and what adds it where it is missing."""

    name: str
    available: bool
    detail: str
    install: str = ""
    needed: bool = False  # whether `masquerade anonymize` with its defaults fails without it


def main(argv: list[str]) -> int:
    """Run the verb; 3 if something that the defaults need is missing."""
    (options,) = parse_boxes(
        argv, {"": Box(Options)}, verb="masquerade doctor", description=str(Options.__doc__)
    )
    checks = [*_packages(), *_models(), *_devices(), *_codecs()]
    if options.json:
        print(json.dumps([asdict(check) for check in checks], indent=1))
    else:
        _print(checks)
    return 0 if all(check.available or not check.needed for check in checks) else 3


def _print(checks: list[Check]) -> None:
    """Print a line for each check, then each line that adds what is missing, to be copied."""
    console = Console(soft_wrap=True)  # a terminal wraps the lines; what is copied stays whole
    width = max(len(check.name) for check in checks)
    missing: dict[str, list[str]] = {}
    for check in checks:
        lacking = ("NO", "red") if check.needed else ("no", "yellow")
        mark, colour = ("yes", "green") if check.available else lacking
        detail = check.detail.removesuffix(f"; add it with: {check.install}")  # it is said below
        console.print(Text.assemble((f"{mark:3}", colour), f"  {check.name:{width}}  {detail}"))
        if not check.available:
            missing.setdefault(check.install, []).append(check.name)
    if missing:
        print("\nto add what is missing, in the folder that masquerade was cloned to:")
    for install, names in missing.items():
        print(f"\n  {', '.join(names)}:\n    {install}")


def _packages() -> list[Check]:
    from masquerade.export.write import ONNX_INSTALL, missing_packages
    from masquerade.pipeline.receipt import library_versions
    from masquerade.regions.litert import LITERT_INSTALL

    checks = [Check(name, True, version) for name, version in library_versions().items()]
    zoo = importlib.util.find_spec("torchvision") is not None
    install = 'pip install -e ".[zoo]"  # replaces a CPU build of torch'
    detail = "people by Mask R-CNN" if zoo else "only for people by Mask R-CNN"
    runs = importlib.util.find_spec("ai_edge_litert") is not None
    litert = Check("LiteRT", runs, "runs the networks that find people", LITERT_INSTALL, True)
    lacking = missing_packages()
    files = (
        f"{', '.join(lacking)} missing, for masquerade export"
        if lacking
        else "files for other programs"
    )
    more = [
        Check("ONNX", not lacking, files, ONNX_INSTALL),
        *(
            Check(name, all(map(importlib.util.find_spec, modules)), what, add)
            for name, modules, what, add in (
                ("Ray", ("ray",), "many machines: --engine ray", RAY_INSTALL),
                ("s3fs", ("s3fs",), "inputs and outputs at s3://", REMOTE_INSTALL),
                ("studio", STUDIO_MODULES, "masquerade studio, a local page", STUDIO_INSTALL),
            )
        ),
    ]
    return [*checks, litert, Check("torchvision", zoo, detail, install), *more]


def _models() -> list[Check]:
    from masquerade.regions.face_detectors import CENTERFACE_INSTALL, centerface_file
    from masquerade.regions.model_files import MODEL_FILES, NEEDED, model_file

    face = partial(centerface_file), "CenterFace", "MIT", CENTERFACE_INSTALL, True
    poses = [
        (partial(model_file, name), file.name, "Apache-2.0", file.install, name in NEEDED)
        for name, file in MODEL_FILES.items()
    ]
    checks = []
    for name, (file, model, licence, install, needed) in zip(
        ["face model", *MODEL_FILES], [face, *poses], strict=True
    ):
        try:
            size = file().stat().st_size
        except MasqueradeError as error:
            checks.append(Check(name, False, str(error), install, needed=needed))
        else:
            checks.append(Check(name, True, f"{model}, {size / 1e6:.1f} MB, {licence} licence"))
    return checks


def _devices() -> list[Check]:
    import torch

    cuda = torch.cuda.is_available()
    name = torch.cuda.get_device_name() if cuda else "networks run on the CPU"
    cores = f"{os.cpu_count()} cores, {shutil.disk_usage('.').free / 1e9:.0f} GB free here"
    install = "an NVIDIA driver and a CUDA build of torch"
    return [Check("processor", True, cores), Check("CUDA GPU", cuda, name, install)]


def _codecs() -> list[Check]:
    from masquerade.video.encoding import CODECS, Encoding, check_encoder
    from masquerade.video.gpu_decoding import decodes_on_gpu

    encodings = {f"encode {codec}": Encoding(codec=codec) for codec in CODECS}
    encodings["encode h264 on a GPU"] = Encoding(hwaccel="cuda")
    checks = []
    for name, encoding in encodings.items():
        try:
            check_encoder(encoding, width=256, height=256, deep=False)
            checks.append(Check(name, True, "works"))
        except MasqueradeError as error:
            driver = "an NVIDIA GPU with an encoder"
            install = driver if "GPU" in name else "pip install --upgrade av"
            checks.append(Check(name, False, str(error), install, needed=name == "encode h264"))
    gpu = decodes_on_gpu("h264")
    detail = "works" if gpu else "h264 is decoded on the CPU"
    checks.append(Check("decode h264 on a GPU", gpu, detail, "an NVIDIA GPU with a decoder"))
    return checks
