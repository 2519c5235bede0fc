"""How many videos of the same people does `masquerade attack` name, and how many of others?

    python benchmarks/linkage.py [--work FOLDER]      # docs/results/linkage.md

`masquerade attack` compares the videos of a folder without labels, and nothing is trained for it.
Here every raw clip of UT-Interaction is compared with every other one of its set (ten pairs of
people, six clips of each, in the same clothes and before one place). What was decided (people are
named by the colours of who is found, which may be .2 apart) was decided on set 1 alone, of which
five in a thousand pairs of other people may be named. Set 2 shows other people in another place.
"""

from __future__ import annotations

import argparse
import pickle
import tempfile
from collections.abc import Iterator, Sequence
from itertools import combinations
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from masquerade.attack.across_videos import (
    ABOUT,
    COLOURS,
    NEAR,
    Described,
    VideoDescriber,
    distance,
)
from masquerade.datasets.manifest import read_manifest
from masquerade.metrics.classification import auroc
from masquerade.video.frame import Frame
from masquerade.video.read import Reader

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT.parent / "shared" / "data" / "uti.csv"
OUT = ROOT / "docs" / "results" / "linkage.md"
APART = (0.12, 0.16, 0.2, 0.25, 0.3, 0.35, 0.4)


def frames_of(path: Path) -> Iterator[NDArray[np.uint8]]:
    """The frames of a video, (H, W, 3)."""
    with Reader(path, force_8bit=True) as reader:
        for item in reader:
            if isinstance(item, Frame):
                yield np.asarray(item.rgb(), np.uint8)


def describe(videos: Sequence[Path], work: Path) -> list[Described]:
    """What each video shows of people and scene; what is in the folder is not done again."""
    describer, found = VideoDescriber(), []
    for video in videos:
        file = work / f"{video.stem}.pickle"
        if not file.exists():
            count = sum(1 for _ in frames_of(video))
            file.write_bytes(pickle.dumps(describer.describe(count, frames_of(video))))
        found.append(pickle.loads(file.read_bytes()))
        print(video.stem, sorted(found[-1]), flush=True)
    return found


def distances(
    described: Sequence[Described], who: Sequence[str]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """(P, F) how far apart each pair of clips is by each feature, and who are the same.

    Not a number where a feature shows nothing in one of them.
    """
    pairs = list(combinations(range(len(described)), 2))

    def far(a: Described, b: Described, name: str) -> float:
        return distance(a[name], b[name]) if name in a and name in b else np.nan

    table = [[far(described[a], described[b], name) for name in ABOUT] for a, b in pairs]
    return np.array(table, np.float64), np.array([who[a] == who[b] for a, b in pairs])


def page(sets: dict[str, tuple[NDArray[np.float64], NDArray[np.bool_]]]) -> str:
    """The page."""
    lines = [
        "# Are videos of the same people named, where nothing was trained?",
        "",
        "Made by `python benchmarks/linkage.py`.",
        "",
        (__doc__ or "").split("\n\n")[2].strip(),
        "",
        "AUROC of telling pairs of clips of the same people from pairs of others (.5: a guess),",
        "and in how many pairs the feature can be compared:",
        "",
        f"| feature | {' | '.join(sets)} |",
        f"| --- |{' --- |' * len(sets)}",
    ]
    for at, name in enumerate(ABOUT):
        cells = []
        for far, same in sets.values():
            known = ~np.isnan(far[:, at])
            value = auroc(same[known].astype(int), -far[known, at]).value
            cells.append(f"{value:.2f}, {known.mean():.0%}")
        lines.append(f"| {name} | {' | '.join(cells)} |")
    lines += [
        "",
        "Named, by how far apart colours may be, of the pairs of clips of the same people, and of",
        "pairs of others:",
        "",
        f"| apart | {' | '.join(f'{n}: same people | others' for n in sets)} |",
        f"| --- |{' --- | --- |' * len(sets)}",
    ]
    at = list(ABOUT).index(COLOURS)
    for apart in APART:
        cells = []
        for far, same in sets.values():
            named = far[:, at] <= apart
            cells += [f"{named[same].mean():.0%}", f"{named[~same].mean():.1%}"]
        mark = " (the command's)" if apart == NEAR else ""
        lines.append(f"| {apart}{mark} | {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "linkage")
    parser.add_argument("--out", type=Path, default=OUT)
    given = parser.parse_args()
    given.work.mkdir(parents=True, exist_ok=True)
    manifest = read_manifest(given.data)
    who = manifest.column("identity")
    names = [who.values[code] for code in manifest.targets("identity")]
    paths = [manifest.root / clip.path for clip in manifest.clips]
    sets = {}
    for number in (1, 2):
        at = [i for i, path in enumerate(paths) if path.stem.startswith(f"set{number}")]
        described = describe([paths[i] for i in at], given.work)
        sets[f"set {number}"] = distances(described, [names[i] for i in at])
    text = page(sets)
    given.out.write_text(text)
    print(text)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
