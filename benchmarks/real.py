"""Scores of methods that need no training, on real clips and on mimes.

    python benchmarks/real.py uti       # UT-Interaction: 5 folds; writes docs/results/uti.md, .json
    python benchmarks/real.py ucf11     # UCF11 as bags of 5 frames: docs/results/ucf11.md, .json
    python benchmarks/real.py mimes     # drawn on the spot: docs/results/mimes.md, .json
    python benchmarks/real.py identity-looks     # 16 mimes, each with a look and a gait
    python benchmarks/real.py identity-alike     # the same, who all look alike
    python benchmarks/real.py identity-shuffled  # the same, in each clip with somebody else's look

An interrupted run resumes: clips, fits and predictions lie under `--work`.
UT-Interaction and UCF11 are read from `../shared/data`; where that is not, the run says so.
"""

from __future__ import annotations

import argparse
import resource
import shlex
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from merged import merged
from rich.console import Console

from masquerade.anonymizer import Anonymizer
from masquerade.cli.evaluate import write_results
from masquerade.cli.progress import StepProgress
from masquerade.datasets.manifest import Manifest, read_manifest
from masquerade.datasets.mimes import Mimes, write_mimes
from masquerade.evaluation import EvaluatedMethod, EvaluationConfig, evaluate, from_json
from masquerade.evaluation.attackers import WITHOUT_FILES
from masquerade.extraction.config import RegionFactory
from masquerade.methods import PRESETS
from masquerade.methods.blacken import Blacken
from masquerade.methods.downsample import Downsample
from masquerade.methods.elr import ELR
from masquerade.methods.frame_difference import FrameDifference
from masquerade.methods.mannequin import Mannequin
from masquerade.methods.mask_mean import MaskMean
from masquerade.methods.selective import Selective
from masquerade.methods.silhouette import Silhouette
from masquerade.methods.skeleton import Skeleton
from masquerade.regions import People
from masquerade.report.table import show

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT.parent / "shared" / "data"
RESULTS = ROOT / "docs" / "results"

UTI_LIMITS = (
    "UT-Interaction (Ryoo and Aggarwal 2010), sets 1 and 2: 120 clips, 6 interactions, 20 pairs of "
    "people. The set is small: differences within the intervals mean nothing.",
    "identity is the pair of people, in its clothes and before its background; some people are in "
    "several pairs. A method that deletes the scene scores well here, and one that keeps it on "
    "purpose cannot go below the attacker who sees the background only.",
    "The clothing labels, scored on people who are not in train, were labelled by eye. As people "
    "are in several pairs in the same clothes, outline and gait reveal clothing too: that is "
    "leakage and no error.",
    "Clips differ in size, and size alone predicts action and pair (nearest neighbour; see the "
    "control).",
)
UCF11_LIMITS = (
    "UCF11 (Liu et al. 2009): 1,599 clips, 11 actions, 275 groups; a group is a person and a "
    "place. Five sampled frames a clip, whose order and spacing are not guaranteed: attackers see "
    "them without order, and nothing temporal is scored.",
    "selective is run with noise that is new in every frame; a frame difference has no meaning "
    "here and is n/a.",
    "One split, not cross-validation: intervals are over its test groups.",
)
MIMES_LIMITS = (
    "mimes is drawn by a program: it compares methods and reveals faults of an evaluation, and "
    "says nothing about how well real people are recognized.",
)
IDENTITY_LIMITS = (
    *MIMES_LIMITS,
    "16 people with 20 clips each, 96 pixels, 48 frames, four actions of the legs. All attackers "
    "are told who is in the training clips; identity is read on other clips of the same people.",
)
LEGS = ("walk", "march", "kick", "squat")
Rows = Callable[[RegionFactory], list[EvaluatedMethod]]


def hiding(people: RegionFactory) -> list[EvaluatedMethod]:
    """Methods that change whole frames, and those that hide people."""
    last = EvaluatedMethod(name="frame difference", method=FrameDifference())
    return [*_hiding(people, Selective()), last]


def real(people: RegionFactory) -> list[EvaluatedMethod]:
    """Methods that change whole frames, hide people, or show them as figures."""
    *first, last = hiding(people)
    names = [one.name for one in (*first, last)]
    return [*first, *(one for one in figures(people) if one.name not in names), last]


def hiding_in_bags(people: RegionFactory) -> list[EvaluatedMethod]:
    """The same for bags of frames, in which nothing moves."""
    reason = "the frames' order and spacing are not guaranteed"
    last = EvaluatedMethod(name="frame difference", method=None, not_applicable=reason)
    return [*_hiding(people, Selective(noise="iid")), last]


def _hiding(people: RegionFactory, noise: Selective) -> list[EvaluatedMethod]:
    whole: dict[str, Anonymizer] = {
        "downsample 2": Downsample(factor=2),
        "downsample 4": Downsample(factor=4),
        "elr 16": ELR(),
        "pixelate 4": PRESETS["pixelate"]["fine"](),
        "pixelate 16": PRESETS["pixelate"]["coarse"](),
        "blur weak": PRESETS["blur"]["weak"](),
        "blur strong": PRESETS["blur"]["strong"](),
    }
    hidden: dict[str, Anonymizer] = {
        "blacken": Blacken(),
        "mask-mean": MaskMean(),
        "selective": noise,
        "silhouette": Silhouette(),
    }
    return [
        *(EvaluatedMethod(name=name, method=method) for name, method in whole.items()),
        *(
            EvaluatedMethod(name=name, method=method, regions=people)
            for name, method in hidden.items()
        ),
    ]


def figures(people: RegionFactory) -> list[EvaluatedMethod]:
    """People as outlines, bones or mannequins, or hidden in their scene."""
    shown: dict[str, Anonymizer] = {
        "silhouette": Silhouette(),
        "skeleton": Skeleton(),
        "mannequin": Mannequin(),
        "mannequin with gait jitter": Mannequin(gait_jitter=8),
        "selective": Selective(),
    }
    return [
        *(EvaluatedMethod(name=name, method=one, regions=people) for name, one in shown.items()),
        EvaluatedMethod(name="frame difference", method=FrameDifference()),
    ]


def moving(people: RegionFactory) -> list[EvaluatedMethod]:
    """Figures, and methods whose output still moves as the person does."""
    found = figures(people)
    noise = Selective(gait_jitter=1.0)
    found.insert(-1, EvaluatedMethod(name="selective, gait jitter", method=noise, regions=people))
    whole = {"downsample 4": Downsample(factor=4), "pixelate 16": PRESETS["pixelate"]["coarse"]()}
    return [*(EvaluatedMethod(name=name, method=one) for name, one in whole.items()), *found]


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """One dataset and how it is evaluated."""

    title: str
    preset: str
    folds: int
    seeds: int
    people: RegionFactory
    limits: tuple[str, ...]
    rows: Rows = hiding
    # of manifests that are read: NAME.csv, of which some have several benchmarks; or what is drawn
    data: str | Mimes = "uti"
    held_out: str = "people"  # what groups are


def identity(title: str, *, looks: bool = True, shuffle_looks: bool = False) -> Benchmark:
    """Sixteen people who differ in their gait, and in their looks or not."""
    drawn = Mimes(
        people=16,
        clips=320,
        size=96,
        frames=48,
        actions=LEGS,
        looks=looks,
        shuffle_looks=shuffle_looks,
    )
    return Benchmark(
        title=f"16 mimes {title}",
        preset="many",
        folds=0,
        seeds=3,
        people=partial(People),
        limits=IDENTITY_LIMITS,
        rows=moving,
        data=drawn,
    )


BENCHMARKS = {
    "uti": Benchmark(
        title="UT-Interaction, 5 folds",
        preset="tiny",
        folds=5,
        seeds=3,
        people=partial(People),
        limits=UTI_LIMITS,
        held_out="pairs",
        rows=real,
    ),
    "ucf11": Benchmark(
        data="ucf11",
        title="UCF11 as bags of five frames",
        preset="bags",
        folds=0,
        seeds=3,
        people=partial(People, detector="hog", track=False),
        limits=UCF11_LIMITS,
        rows=hiding_in_bags,
    ),
    "mimes": Benchmark(
        data=Mimes(clips=1024, correlation=0.5),
        title="mimes",
        preset="many",
        folds=0,
        seeds=3,
        people=partial(People),
        limits=MIMES_LIMITS,
    ),
    "identity-looks": identity("with looks of their own"),
    "identity-alike": identity("who look alike", looks=False),
    "identity-shuffled": identity("in looks shuffled between clips", shuffle_looks=True),
}


def manifest_of(data: str | Mimes, work: Path, clips: int) -> Manifest:
    """Read the manifest; mimes are drawn where they are missing."""
    if isinstance(data, Mimes):
        folder = work / "drawn"
        if not (folder / "manifest.csv").exists():
            write_mimes(folder, data)
        manifest = read_manifest(folder / "manifest.csv")
        return manifest.take(range(min(clips, len(manifest)))) if clips else manifest
    path = DATA / f"{data}.csv"
    if not path.exists():
        sys.exit("real.py: ../shared/data is not here, so there is nothing to measure.")
    manifest = read_manifest(path)
    return manifest.take(range(0, len(manifest), -(-len(manifest) // clips))) if clips else manifest


def main(argv: Sequence[str] | None = None) -> int:
    """Run one benchmark; returns its exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("name", choices=BENCHMARKS)
    parser.add_argument("--seeds", type=int, help="networks of each kind")
    parser.add_argument("--folds", type=int, help="of the cross-validation; 0: one split")
    parser.add_argument("--workers", type=int, default=0, help="processes; 0: one a core")
    parser.add_argument("--only", help="some lines, separated by commas")
    parser.add_argument("--clips", type=int, default=0, help="about so many, to try it out")
    parser.add_argument("--device", default="cpu")
    parser.add_argument(
        "--work", type=Path, default=Path(tempfile.gettempdir()) / "masquerade-real"
    )
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument(
        "--merge", action="store_true", help="keep the other rows of the table that is there"
    )
    chosen = parser.parse_args(argv)
    table = chosen.out / f"{chosen.name}.json"
    if chosen.merge and not table.exists():  # said before hours of work
        parser.error(f"--merge keeps rows of {table}, which is not there: leave it out.")
    there = from_json(table.read_text("utf-8")) if chosen.merge else None
    benchmark = BENCHMARKS[chosen.name]
    lines = benchmark.rows(benchmark.people)
    order = [one.name for one in lines]
    if chosen.only is not None:
        lines = [one for one in lines if one.name in chosen.only.split(",")]
    plan = EvaluationConfig(
        attackers=WITHOUT_FILES,
        folds=benchmark.folds if chosen.folds is None else chosen.folds,
        seeds=chosen.seeds or benchmark.seeds,
        preset=benchmark.preset,
        workers=chosen.workers,
        device=chosen.device,
        allow_empty=True,  # both stand under the table
        allow_gaps=True,
    )
    # benchmarks of one dataset share its clips and the attackers of raw video
    work = chosen.work / (benchmark.data if isinstance(benchmark.data, str) else chosen.name)
    work.mkdir(parents=True, exist_ok=True)
    manifest = manifest_of(benchmark.data, work, chosen.clips)
    began = time.perf_counter()
    given = sys.argv[1:] if argv is None else argv
    with StepProgress(quiet=not sys.stderr.isatty()) as talk:
        result = evaluate(
            manifest,
            lines,
            plan,
            data=benchmark.title,
            folder=work,
            command=f"python benchmarks/real.py {shlex.join(given)}",
            limits=benchmark.limits,
            held_out=benchmark.held_out,
            progress=talk.follow,
        )
    if there is not None:
        result = merged(there, result, order)
    write_results(result, chosen.out, chosen.name)
    show(result, Console(width=200))
    own, children = (resource.getrusage(who) for who in (0, resource.RUSAGE_CHILDREN))
    spent = sum(one.ru_utime + one.ru_stime for one in (own, children))
    print(f"{time.perf_counter() - began:.0f} s, of which CPU {spent:.0f} s in all processes")
    return 1 if result.void else 0


if __name__ == "__main__":
    sys.exit(main())
