"""Write a graph as an ONNX file or a PyTorch program, compare it with PyTorch, and publish it."""

import importlib.util
import io
import json
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor
from torch.export import Dim, ExportedProgram

from masquerade.errors import MissingError, OutputError, UsageError
from masquerade.export.graph import Graph, Run, Tensors
from masquerade.output_paths import refuse_existing
from masquerade.storage import atomic_write

Format = Literal["onnx", "torch"]
PACKAGES = ("onnx", "onnxruntime", "onnxscript")
ONNX_INSTALL = 'pip install -e ".[onnx]"'
TOLERANCE = 1e-4
"""Largest difference from PyTorch: of pixels in [0, 1], else as a share of the largest output."""
JUMPS = 1e-4
"""Largest share of values that rounding may move to a neighbouring level, of outputs in levels."""
LICENCE = "MIT, of the library; weights are as free as the data they were learned from"
ABOUT = "masquerade.json"  # in a PyTorch program
LOGGERS = ("torch.onnx", "onnxscript", "onnx_ir")


@dataclass(frozen=True)
class Exported:
    """A file that was written, and how it compares with PyTorch."""

    path: str
    format: Format
    about: dict[str, Any]
    comparisons: int  # outputs that were compared
    difference: float  # the largest, relative as `TOLERANCE`
    jumped: float  # the share of values beyond the tolerance; 0 unless outputs are in levels


def missing_packages() -> list[str]:
    """The packages that ONNX files need and that are not here."""
    return [name for name in PACKAGES if importlib.util.find_spec(name) is None]


def export(
    graph: Graph, path: Path, *, format: Format = "onnx", overwrite: bool = False
) -> Exported:
    """Write a graph to a file that needs neither masquerade nor, as ONNX, PyTorch.

    Raises:
        MissingError: a package that ONNX needs is missing.
        UsageError: the graph cannot be traced, or the file exists and `overwrite` is off.
        OutputError: the file does not give what PyTorch gives; nothing was published.
    """
    if format == "onnx" and missing_packages():
        raise MissingError(f"ONNX files need {', '.join(missing_packages())}: {ONNX_INSTALL}")
    refuse_existing(path, overwrite=overwrite)
    about = _about(graph)
    with _quiet(), torch.no_grad(), atomic_write(path, overwrite=overwrite) as part:
        write = _write_onnx if format == "onnx" else _write_torch
        run = write(graph, trace(graph), about, part)
        count, difference, jumped, alike = measure(graph, run)
        if not alike:
            raise OutputError(
                f"the file of {graph.about['name']} differs from PyTorch by {difference:.1e}, "
                f"{jumped:.2%} of its values by more than {TOLERANCE:.0e}; nothing was written."
            )
    return Exported(str(path), format, about, count, difference, jumped)


def trace(graph: Graph) -> ExportedProgram:
    """The graph's operations on tensors, with lengths that stay open where they have names."""
    axes = ("batch", "frames", "height", "width")
    dims = {name: Dim(name, min=graph.least.get(name)) for name in axes}
    open_axes = {
        name: {at: dims[axis] for at, axis in enumerate(port.shape) if isinstance(axis, str)}
        for name, port in graph.inputs.items()
    }
    example = graph.example()
    try:
        program = torch.export.export(graph, (), example, dynamic_shapes=open_axes, strict=False)
    except Exception as error:  # whatever a method does that cannot be traced
        why = " ".join(str(error).split())[:300].removesuffix(".")
        raise UsageError(f"{graph.about['name']} cannot be exported: {why}.") from error
    for node in program.graph.nodes:  # which names files of this machine
        node.meta.pop("stack_trace", None)
    program.example_inputs = None  # as large as a video, and of no use
    return program


class Measured(NamedTuple):
    """The differences between an exported file's outputs and PyTorch's."""

    comparisons: int
    difference: float  # the largest, relative as in `TOLERANCE`
    jumped: float  # the largest share of an output's values that differ by more
    alike: bool  # whether no value differs by more, or few of an output in levels by one level


def measure(graph: Graph, run: Run) -> Measured:
    """Compare what a file gives with what PyTorch does."""
    count, worst, jumped, alike = 0, 0.0, 0.0, True
    for output, expected, quantization_step in graph.compare(run):
        if output.shape != expected.shape:
            return Measured(count + 1, float("inf"), 1.0, alike=False)
        scale = max(graph.least_scale, expected.abs().max().item())
        off = ((output - expected).abs() / scale).nan_to_num(nan=float("inf"))
        largest, share = off.max().item(), (off > TOLERANCE).float().mean().item()
        few = share <= JUMPS and largest <= quantization_step / scale + TOLERANCE
        alike = alike and (largest <= TOLERANCE or few)
        count, worst, jumped = count + 1, max(worst, largest), max(jumped, share)
    return Measured(count, worst, jumped, alike)


def _about(graph: Graph) -> dict[str, Any]:
    """What a file says of itself."""
    from masquerade import __version__

    ports = {
        "inputs": {name: asdict(port) for name, port in graph.inputs.items()},
        "outputs": {name: asdict(port) for name, port in graph.outputs.items()},
    }
    made = {"masquerade": __version__, "licence": LICENCE, "trained": graph.trained}
    return {**made, **graph.about, **ports}


def _write_onnx(graph: Graph, program: ExportedProgram, about: dict[str, Any], part: Path) -> Run:
    import onnx
    import onnxruntime

    names = list(graph.inputs), list(graph.outputs)
    made = torch.onnx.export(
        program, dynamo=True, external_data=False, verbose=False,
        input_names=names[0], output_names=names[1],
    )  # fmt: skip
    assert made is not None
    model = made.model_proto
    for node in (
        *model.graph.node,
        *(node for function in model.functions for node in function.node),
    ):
        del node.metadata_props[:]  # which name files of this machine
    words = {
        key: value if isinstance(value, str) else json.dumps(value) for key, value in about.items()
    }
    onnx.helper.set_model_props(model, words)
    onnx.checker.check_model(model, full_check=True)
    part.write_bytes(model.SerializeToString())
    settings = onnxruntime.SessionOptions()
    settings.log_severity_level = 3  # errors
    session = onnxruntime.InferenceSession(part, settings, providers=["CPUExecutionProvider"])

    def run(given: Tensors) -> Tensors:
        outputs = session.run(names[1], {name: value.numpy() for name, value in given.items()})
        return {
            name: torch.from_numpy(value) for name, value in zip(names[1], outputs, strict=True)
        }

    return run


def _write_torch(graph: Graph, program: ExportedProgram, about: dict[str, Any], part: Path) -> Run:
    content = io.BytesIO()
    torch.export.save(program, content, extra_files={ABOUT: json.dumps(about)})
    part.write_bytes(content.getbuffer())
    loaded = torch.export.load(io.BytesIO(part.read_bytes())).module()

    def run(given: Tensors) -> Tensors:
        outputs: tuple[Tensor, ...] = loaded(**given)
        return dict(zip(graph.outputs, outputs, strict=True))

    return run


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what the exporters say to those who develop them."""
    levels = {name: logging.getLogger(name).level for name in LOGGERS}
    for name in LOGGERS:
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)
