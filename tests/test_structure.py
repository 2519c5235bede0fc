"""The layout of the source: imports point one way, and a file holds one concept."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

import masquerade

ROOT = Path(__file__).resolve().parents[1]
SOURCE = Path(masquerade.__file__).parent
BENCHMARKS = sorted((ROOT / "benchmarks").glob("*.py"))

# a room may import from itself and from those below it
LEVELS = [
    "__main__",
    "cli",
    "studio",
    "report",
    "export",
    "benchmark",
    "attack",
    "evaluation",
    "training",
    "extraction",
    "datasets",
    "pipeline",
    "checkpoint",
    "methods",
    "regions",
    "models",
    "metrics",
    "video",
    "anonymizer",
    "process_pool",
    "ray_cluster",
    "freed_memory",
    "openmp_waiting",
    "transaction",
    "object_store",
    "storage",
    "output_paths",
    "file_locks",
    "device",
    "ranges",
    "core_dumps",
    "errors",
    "text",
    "arrays",
]


CONCEPTS = {  # files of fewer than 40 lines that are a concept of their own, as is each method
    "__main__.py",
    "attack/config.py",
    "attack/own_output.py",
    "pipeline/people_ids.py",
    "video/metadata_keys.py",
    "cli/option_boxes.py",
    "arrays.py",
    "core_dumps.py",
    "datasets/published/hmdb51.py",
    "datasets/published/ucf101.py",
    "datasets/published/ucf11.py",
    "device.py",
    "errors.py",
    "evaluation/gait_attackers.py",
    "freed_memory.py",
    "openmp_waiting.py",
    "pipeline/source_file.py",
    "pipeline/source_warnings.py",
    "pipeline/verify.py",
    "regions/exported_boxes.py",
    "regions/onnx_network.py",
    "regions/people_scores.py",
    "regions/people_segmentation.py",
    "report/attack_page.py",
    "report/figure_files.py",
    "report/heatmap.py",
    "report/linked_clips.py",
    "report/own_pages.py",
    "text.py",
    "training/seeds.py",
}
PARTS = {"markupsafe", "pydantic", "starlette"}  # what Jinja and FastAPI themselves give and take
DRAWERS = {"utils", "util", "core", "base", "helpers", "helper", "common", "manager", "misc"}
OUTSIDE = re.compile(r"\bFACTS\b|\b(DESIGN|REVIEW|STYLE|BRIEF)\.md|/work/|\bshared/")


def room(name: str) -> str:
    parts = name.split(".")
    return parts[1] if len(parts) > 1 else "__init__"


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module]
        found |= {name for name in names if name.split(".")[0] == "masquerade"}
    return found


def files() -> list[Path]:
    return sorted(SOURCE.rglob("*.py"))


def test_a_package_that_is_imported_is_asked_for() -> None:
    """Not left to be installed for another one, which may stop asking for it."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lists = [project["dependencies"], *project["optional-dependencies"].values()]
    asked = {re.split(r"[^\w.-]", one)[0].lower() for each in lists for one in each}
    packages = packages_distributions()
    for path in files():
        for node in ast.walk(ast.parse(path.read_text())):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            for top in {name.split(".")[0] for name in names} - sys.stdlib_module_names:
                of = {one.lower().replace("_", "-") for one in packages.get(top, [top])}
                known = top == "masquerade" or top in PARTS or of & asked
                assert known, f"{path.relative_to(SOURCE)} imports {top}: add it to pyproject.toml"


def test_imports_point_one_way() -> None:
    level = {name: i for i, name in enumerate(LEVELS)}
    for path in files():
        here = path.relative_to(SOURCE).parts[0].removesuffix(".py")
        if here == "__init__":
            continue  # it names the public things lazily
        for name in imports(path):
            there = room(name)
            allowed = there == "__init__" or level[there] >= level[here]
            assert allowed, f"{path.relative_to(SOURCE)} imports {name}"


def test_contributors_are_told_every_room_in_the_order_of_imports() -> None:
    table = (ROOT / "CONTRIBUTING.md").read_text().partition("## Where things are")[2]
    rows = re.findall(r"^\| (`.*?) \|", table.partition("\n## ")[0], re.M)
    named = [name for row in rows for name in re.findall(r"`(\w+)(?:/|\.py)`", row)]
    assert ["__main__", *named] == LEVELS


def test_methods_import_neither_each_other_nor_a_detector() -> None:
    """A method may use the shared parts, its own folder, and of the regions only scene cuts."""
    methods = SOURCE / "methods"
    shared = tuple(
        f"masquerade.methods.{name}"
        for name in (
            *("blend", "area_resizing", "framewise"),
            *("body", "drawn_people", "figure_drawing", "ground", "pose_filter"),
        )
    )
    for path in methods.rglob("*.py"):
        where = path.relative_to(methods)
        if where == Path("__init__.py"):
            continue  # the table of methods
        own = f"masquerade.methods.{where.parts[0]}." if len(where.parts) > 1 else None
        for name in imports(path):
            if name.startswith("masquerade.methods"):
                assert name in shared or (own and f"{name}.".startswith(own)), (where, name)
            elif name.startswith("masquerade.regions"):
                assert name == "masquerade.regions.scene_cuts", (where, name)


def test_training_imports_no_concrete_method() -> None:
    """Only the table of them; what a method needs of training is in the contract."""
    for path in (SOURCE / "training").rglob("*.py"):
        for name in imports(path):
            assert not name.startswith("masquerade.methods."), (path.name, name)


def test_a_file_holds_one_concept_and_its_name_says_which() -> None:
    methods = {f"{one.__module__.replace('.', '/')}.py" for one in masquerade.METHODS.values()}
    methods = {name.removeprefix("masquerade/") for name in methods}
    for path in files():
        name, lines = str(path.relative_to(SOURCE)), len(path.read_text().splitlines())
        assert lines <= 600, f"{name} has {lines} lines; split it at a concept"
        assert path.stem not in DRAWERS, f"{name} does not say what it holds"
        small = lines < 40 and path.name != "__init__.py" and name not in methods
        assert not small or name in CONCEPTS, (
            f"{name} has {lines} lines: merge it into a file that uses it, or list it in CONCEPTS"
        )


def test_code_cites_nothing_outside_the_repository() -> None:
    for path in files():
        for number, line in enumerate(path.read_text().splitlines(), 1):
            assert not OUTSIDE.search(line), (
                f"{path}:{number} cites a page that readers lack: {line}"
            )


def test_importing_the_package_needs_torch_and_numpy_only() -> None:
    code = """
import sys
import masquerade
masquerade.Anonymizer, masquerade.Anonymized
heavy = {"av", "cv2", "tyro", "matplotlib", "rich", "jinja2"} & set(sys.modules)
assert not heavy, heavy
masquerade.METHODS
assert "av" not in sys.modules and "tyro" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_public_names_are_there() -> None:
    wanted = {"METHODS", "build", "load", "save", "anonymize", "anonymize_file", "read_video"}
    assert wanted | {"write_video", "Anonymizer", "Anonymized"} <= set(masquerade.__all__)
    for name in masquerade.__all__:
        thing = getattr(masquerade, name)
        assert name == "METHODS" or thing.__doc__, name


def test_public_names_are_listed_before_they_are_used() -> None:
    """As editors complete them, without the seconds that importing torch takes."""
    code = """
import sys
import masquerade
assert {*masquerade.__all__, "__version__"} <= {*dir(masquerade)}
assert "torch" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("script", BENCHMARKS, ids=lambda path: path.stem)
def test_what_benchmarks_import_exists(script: Path) -> None:
    """They are not run by tests, so a name that moved would be missed."""
    for node in ast.walk(ast.parse(script.read_text("utf-8"))):
        if not isinstance(node, ast.ImportFrom) or not (node.module or "").startswith("masquerade"):
            continue
        module = importlib.import_module(node.module or "")
        for name in (one.name for one in node.names):
            there = hasattr(module, name) or importlib.util.find_spec(f"{node.module}.{name}")
            assert there, f"{script.name}: {node.module} has no {name}"
