"""Save and load an anonymizer as one safetensors file: weights, method name and arguments."""

import inspect
import json
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialize
from torch import Tensor

from masquerade.anonymizer import Anonymizer, check_anonymizer
from masquerade.errors import MissingError, UsageError
from masquerade.methods import build, method_name
from masquerade.methods.selective import RECORDED_KEY
from masquerade.storage import atomic_write, weights_digest

FORMAT = "1"
WEIGHTS, STATE = "anonymizer.safetensors", "state.pt"  # a training run at its end, and before
TEXTS = ("notes", "learned")  # lists of texts in a provenance


def arguments(anonymizer: Anonymizer) -> dict[str, Any]:
    """Return what an anonymizer was constructed with, from attributes of the arguments' names.

    Raises:
        UsageError: an argument has no such attribute.
    """
    kind, values = type(anonymizer).__name__, dict[str, Any]()
    for name, parameter in inspect.signature(type(anonymizer).__init__).parameters.items():
        if name == "self":
            continue
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            bare = parameter.replace(annotation=parameter.empty)
            raise UsageError(f"{kind} takes {bare}, which names no arguments; name each of them.")
        if not hasattr(anonymizer, name):
            raise UsageError(f"{kind} keeps no attribute {name}; set self.{name} to that argument.")
        values[name] = getattr(anonymizer, name)
    return values


def _recorded_arguments(anonymizer: Anonymizer) -> dict[str, Any]:
    """`arguments`, for receipts and checkpoints; raises UsageError where JSON cannot hold a value.

    Of a file of weights only the name is recorded: receipts and checkpoints are given away, and a
    folder may tell whose it is.
    """
    recorded = {
        name: without_folder(name, argument) for name, argument in arguments(anonymizer).items()
    }
    for name, value in recorded.items():
        try:
            json.dumps(value)
        except (TypeError, ValueError, RecursionError) as error:
            raise UsageError(
                f"the argument {name} of {type(anonymizer).__name__} is a {type(value).__name__} "
                "that JSON does not hold; take numbers, text, or lists of them."
            ) from error
    return recorded


def without_folder(argument: str, value: Any) -> Any:
    """An argument's value as it is published: of a file of weights only its name."""
    return Path(value).name if "weights" in argument and isinstance(value, str) else value


def describe(anonymizer: Anonymizer) -> dict[str, Any]:
    """Return what a receipt says of an anonymizer: its name, arguments and, if learned, weights."""
    recorded = _recorded_arguments(anonymizer)
    about: dict[str, Any] = {"name": method_name(anonymizer), "arguments": recorded}
    if anonymizer.learned:
        weights = weights_digest(anonymizer.state_dict())
        about |= {"weights_sha256": weights, "warnings": list(anonymizer.warnings)}
    return about


def save(
    anonymizer: Anonymizer, path: str | Path, *, provenance: dict[str, Any] | None = None
) -> None:
    """Write an anonymizer to a safetensors file, in one step: an older one stays, or is replaced.

    Args:
        provenance: where the weights come from (data, commit, seed), kept as JSON; None: the
            anonymizer's own, as of one that was loaded. Its warnings are the notes of either,
            where none are given.

    Raises:
        UsageError: it is no anonymizer that was built.
        MasqueradeError: it cannot be written.
    """
    check_anonymizer(anonymizer)
    with atomic_write(Path(path), overwrite=True) as part:
        write_weights(anonymizer, part, provenance=provenance)


def write_weights(
    anonymizer: Anonymizer, path: Path, *, provenance: dict[str, Any] | None = None
) -> None:
    """Write an anonymizer to a file that the caller renames afterwards; `save` does both."""
    from masquerade import __version__

    weights = {k: v.contiguous() for k, v in anonymizer.state_dict().items()}
    notes = {"notes": list(anonymizer.warnings)}
    own = {**anonymizer.provenance, **notes}
    about = {
        "format": FORMAT,
        "masquerade": __version__,
        "method": method_name(anonymizer),
        "arguments": json.dumps(_recorded_arguments(anonymizer)),
        "provenance": json.dumps(own if provenance is None else {**notes, **provenance}),
        "weights_sha256": weights_digest(weights),
        "trained": json.dumps(anonymizer.trained or not anonymizer.learned),
    }
    path.write_bytes(serialize(weights, about))  # `save_file` gives no OSError


def load(path: str | Path, **inference_args: Any) -> Anonymizer:
    """Read an anonymizer from a file that `save` wrote. Nothing in the file is executed.

    Args:
        path: the file, or a training run's folder.
        **inference_args: arguments that may change without new training; the method's
            `inference_args` names them.

    Raises:
        MissingError: there is no such file.
        UsageError: `save` did not write the file, its weights were changed since, are no finite
            numbers or do not fit its arguments, or an argument is not among the `inference_args`.
    """
    path = _weights_file(path)
    about, weights = _read(path)
    if about.get("weights_sha256") not in (None, weights_digest(weights)):
        raise UsageError(f"the weights in {path} were changed since then; get the file anew.")
    if not all(torch.isfinite(weight).all() for weight in weights.values()):
        raise UsageError(f"the weights in {path} are not all finite numbers; train it anew.")
    recorded = {key: _tuples(value) for key, value in _json(about, "arguments", path).items()}
    if recorded.get("key") == RECORDED_KEY:
        if inference_args.get("key") is None:
            raise UsageError(
                f"{path.name} is of a method with a key, which is not in it; give it as --key, or "
                "as key= in Python."
            )
    elif recorded.get("key") is not None:
        raise UsageError(f"{path.name} holds a key, which others know too; give your own by --key.")
    provenance = _json(about, "provenance", path)
    make = partial(build, about["method"], **{**recorded, **inference_args})
    with torch.device("meta"):  # which takes no memory: a few bytes may ask for a network of 50 GB
        shell = make()
    fixed = sorted(set(inference_args) - set(shell.inference_args))
    if fixed:
        raise UsageError(f"{about['method']} was trained with its {fixed[0]}; leave that as it is.")
    try:
        shell.load_state_dict(weights, assign=True)
    except RuntimeError as error:
        why = " ".join(str(error).split())
        raise UsageError(f"{path.name} does not fit {about['method']}: {why[:400]}.") from error
    anonymizer = make()
    anonymizer.load_state_dict(weights)
    anonymizer.trained = about.get("trained") != "false"
    anonymizer.provenance = provenance
    anonymizer.warnings = tuple(str(note) for note in provenance.get("notes") or ())
    return anonymizer.eval()


def read_method(path: str | Path) -> str:
    """Read the name of the method that `save` wrote."""
    return _read(_weights_file(path), tensors=False)[0]["method"]


def read_provenance(path: str | Path) -> dict[str, Any]:
    """Read the provenance that `save` wrote with the weights.

    A training run's has, among others, `notes` (warnings about the run) and `learned` (the
    fingerprints of its training clips).
    """
    path = _weights_file(path)
    return _json(_read(path, tensors=False)[0], "provenance", path)


def _read(path: Path, *, tensors: bool = True) -> tuple[dict[str, str], dict[str, Tensor]]:
    """The metadata and the tensors of a file that `save` wrote."""
    try:
        with safe_open(path, "pt") as file:
            about = file.metadata() or {}
            names = file.keys() if tensors else ()
            weights = {name: file.get_tensor(name) for name in names}
    except SafetensorError as error:
        raise UsageError(f"{path} is not a safetensors file: {error}.") from error
    if about.get("format") != FORMAT or not {"method", "arguments"} <= set(about):
        raise UsageError(f"{path.name} was not written by masquerade.save; give one that was.")
    return about, weights


def _json(about: dict[str, str], name: str, path: Path) -> dict[str, Any]:
    """An entry of the metadata that is a JSON object, with lists of texts where it has some."""
    try:
        entry = json.loads(about.get(name, "{}"))
    except (ValueError, RecursionError):
        entry = None
    lists = [entry.get(key, []) for key in TEXTS] if isinstance(entry, dict) else [None]
    if not all(
        isinstance(texts, list) and all(isinstance(text, str) for text in texts) for texts in lists
    ):
        raise UsageError(f"{path.name} holds a damaged {name}; give the file as it was written.")
    return entry


def _weights_file(path: str | Path) -> Path:
    path = Path(path)
    if path.is_dir():
        path = path / WEIGHTS
    if not path.is_file():
        if (path.parent / STATE).exists():
            raise MissingError(
                f"the training in {path.parent} has not ended; give its command again to go on."
            )
        raise MissingError(f"there is no weights file {path}; train one, or name another.")
    return path


def _tuples(value: Any) -> Any:
    """Turn JSON's lists into the tuples that they were."""
    return tuple(_tuples(item) for item in value) if isinstance(value, list) else value
