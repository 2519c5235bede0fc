"""Small faults of the fail-closed pipeline, made by the operators of mutmut and drawn by a seed."""

from __future__ import annotations

import difflib
import itertools
import random
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
SOURCE = "src/masquerade"
# What stands between a source and a published output: reading, finding, hiding, checking, writing.
# Left out: methods, which tests/test_contract.py judges by what they hide, networks, and messages.
FILES = (
    "pipeline/*.py",
    "video/*.py",
    "regions/boxes.py",
    "regions/face_detectors.py",
    "regions/masks.py",
    "regions/region.py",
    "regions/region_sources.py",
    "regions/tracking.py",
    "anonymizer.py",
    "process_pool.py",
    "ranges.py",
    "file_locks.py",
    "output_paths.py",
    "storage.py",
    "transaction.py",
)


@dataclass(frozen=True)
class Mutant:
    """One fault: a file and what it says instead."""

    file: str  # below src/masquerade
    line: int
    diff: str
    code: str = ""


def files() -> list[str]:
    """The files that mutants are drawn from."""
    folder = ROOT / SOURCE
    found = {path for pattern in FILES for path in folder.glob(pattern)}
    return sorted(str(path.relative_to(folder)) for path in found if path.name != "__init__.py")


def is_left_out(parents: Any, node: Any, mutated: Any) -> bool:
    """The rules by which a mutant is left out before the draw.

    mutmut itself leaves out annotations, docstrings, decorated functions, calls of len and
    isinstance, and what is marked as such (nothing is).
    """
    import libcst as cst

    if isinstance(node, cst.SimpleString):
        text = node.evaluated_value
        if not isinstance(text, str) or not mutated.value.strip("bru")[1:].startswith("XX"):
            return True  # of the three faults of a string only the first: the others are like it
        if " " in text or text == "utf-8":
            return True  # the wording of a message; another case of the same name
    if isinstance(node, cst.Call) and isinstance(node.func, cst.Name) and node.func.value == "zip":
        return len(mutated.args) < len(node.args) and "strict" in _keywords(node) - _keywords(
            mutated
        )
    inside = node
    while inside in parents:
        above = parents[inside]
        if isinstance(above, cst.Raise):
            return True  # the wording of a refusal
        if isinstance(above, cst.Arg) and above.keyword and above.keyword.value == "strict":
            return True  # an assertion that never fails
        if isinstance(above, cst.Assign | cst.AnnAssign) and _is_type(above.value):
            return True
        inside = above
    return isinstance(node, cst.Assign | cst.AnnAssign) and _is_type(node.value)


def _keywords(call: Any) -> set[str]:
    return {arg.keyword.value for arg in call.args if arg.keyword}


def _is_type(value: Any) -> bool:
    """Whether an assigned value is a type for the checker: Literal[...], TypeVar(...)."""
    import libcst as cst

    if isinstance(value, cst.Subscript):
        return isinstance(value.value, cst.Name) and value.value.value in TYPES
    return (
        isinstance(value, cst.Call)
        and isinstance(value.func, cst.Name)
        and (value.func.value in ("TypeVar", "NewType"))
    )


TYPES = ("Annotated", "Callable", "Literal", "NDArray", "tuple")


class Source:
    """A file and what mutmut would change in it."""

    def __init__(self, file: str) -> None:
        from libcst.metadata import MetadataWrapper, ParentNodeProvider
        from mutmut.mutation.file_mutation import create_mutations

        self.file, self.code = file, (ROOT / SOURCE / file).read_text("utf-8")
        self.module, mutations, *_ = create_mutations(file, self.code)
        wrapper = MetadataWrapper(self.module, unsafe_skip_copy=True)
        self.parents = wrapper.resolve(ParentNodeProvider)
        pairs = [(one.original_node, one.mutated_node) for one in mutations]
        self.pairs = [pair for pair in pairs if not is_left_out(self.parents, *pair)]
        parts = (*self.module.header, *self.module.body, *self.module.footer)
        self.pieces = [self.module.code_for_node(part) for part in parts]

    def mutant(self, node: Any, mutated: Any) -> Mutant | None:
        """One of the pairs, written out; None: it is no Python, or the same."""
        top = node
        while self.parents[top] is not self.module:
            top = self.parents[top]
        at = len(self.module.header) + self.module.body.index(top)
        piece = self.module.code_for_node(top.deep_replace(node, mutated))
        changed = "".join([*self.pieces[:at], piece, *self.pieces[at + 1 :]])
        try:
            compile(changed, self.file, "exec")
        except SyntaxError:
            return None
        lines = self.code.splitlines(), changed.splitlines()
        diff = list(difflib.unified_diff(*lines, n=0, lineterm=""))
        if not diff:
            return None
        line = int(diff[2].split()[1].lstrip("-").partition(",")[0])
        return Mutant(self.file, line, "\n".join(diff[3:]), changed)


def draw(count: int, seed: int) -> tuple[list[Mutant], Counter[str]]:
    """So many mutants of all files, each as likely as any other; and how many there are."""
    sources = [Source(file) for file in files()]
    pairs = [(source, pair) for source in sources for pair in source.pairs]
    every = Counter({source.file: len(source.pairs) for source in sources})
    random.Random(seed).shuffle(pairs)
    written = (source.mutant(*pair) for source, pair in pairs)
    return list(itertools.islice(filter(None, written), count)), every
