"""How often does `attack` say that it recovered something where there is nothing to recover?

    python benchmarks/attack_alarms.py --data ../shared/data/uti.csv [--raw] [--clips 30] [--work F]

Clips, evenly spaced in a manifest, are published in ways that leave nothing of anybody: noise over
whole frames that nobody can draw again, and people as drawn figures or outlines without their
scene. What `attack` recovers from them, without the raw video, is a false alarm. Beside
them stand raw video, of which something is to be recovered in every clip with a face, and whole
people hidden in their scene (the default), where an alarm may be a face that was missed: of these
`missed` are those in which the raw video beside shows an unchanged face. With --raw all clips of a
way are attacked once more together, beside their raw videos, from which networks learn to restore.
The published files and what was found in each stay under --work, where an interrupted run goes on.
"""

from __future__ import annotations

import argparse
import json
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from masquerade import anonymize_file, build
from masquerade.attack import AttackConfig, attack_files
from masquerade.attack.run import ATTACKS
from masquerade.datasets.manifest import read_manifest

REPORT = Path(__file__).resolve().parents[1] / "docs" / "results" / "attack-alarms.md"


class Way(NamedTuple):
    """How clips are published."""

    name: str
    method: str | None  # None: as they are
    settings: dict[str, Any]
    shows: bool  # whether something of people may be left
    arguments: dict[str, Any]


WAYS = [
    Way("raw", None, {}, True, {}),
    Way("people hidden, the default", "selective", {"regions": "people"}, True, {}),
    Way("noise over whole frames", "selective", {"regions": "frame"}, False, {}),
    Way("drawn figures", "mannequin", {"regions": "people"}, False, {}),
    Way("silhouettes", "silhouette", {"regions": "people"}, False, {}),
]


def publish(way: Way, src: Path, dst: Path) -> None:
    """Write a clip as this way publishes it, without a receipt to read."""
    if dst.exists():
        return
    if way.method is None:
        dst.symlink_to(src.resolve())
        return
    method = build(way.method, **way.arguments)
    anonymize_file(
        src, dst, method, allow_empty=True, allow_gaps=True, receipt=False, **way.settings
    )


def attack(dst: Path, raw: Path | None) -> dict[str, Any]:
    """What is found in one published clip, kept beside it."""
    kept = dst.with_suffix(".raw.json" if raw else ".json")
    if not kept.exists():
        config = AttackConfig(quick=raw is not None, hidden="people")
        kept.write_text(json.dumps(attack_files([dst], config, raw=raw).plain()))
    found: dict[str, Any] = json.loads(kept.read_text())["videos"][0]
    return found


def attack_together(files: Sequence[Path], raw: Path) -> list[dict[str, Any]]:
    """What is found in each of these files beside its raw video in a folder, kept beside them."""
    kept = files[0].parent / "beside-raw.json"
    if not kept.exists():
        report = attack_files(files, AttackConfig(hidden="people"), raw=raw)
        kept.write_text(json.dumps(report.plain()))
    found = {Path(one["path"]).name: one for one in json.loads(kept.read_text())["videos"]}
    return [found[file.name] for file in files]


def recovered(found: dict[str, Any]) -> list[str]:
    """The attacks that recovered something."""
    return [one["attack"] for one in found["findings"] if one["level"] == "recovered"]


def alarms(each: Sequence[list[str]]) -> str:
    """In how many clips something was recovered, and in how many by which attack: two cells."""
    names = [name for name in ATTACKS if any(name in one for one in each)]
    by = ", ".join(f"{name} {sum(name in one for one in each)}" for name in names)
    return f"{sum(bool(one) for one in each)} | {by}"


def row(
    way: Way, each: Sequence[list[str]], beside: Sequence[list[str]] | None, missed: int
) -> str:
    """Its line of the table; without `beside` (None) it has two cells less."""
    more = "" if beside is None else f" {alarms(beside) if beside else '|'} |"
    seen = missed if way.shows and way.method is not None else ""
    return f"| {way.name} | {len(each)} | {alarms(each)} |{more} {seen} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="a manifest of real clips")
    parser.add_argument("--clips", type=int, default=30)
    parser.add_argument("--raw", action="store_true", help="attack beside the raw videos, too")
    parser.add_argument("--work", type=Path, default=Path("attack-alarms"))
    parser.add_argument("-o", "--output", type=Path, default=REPORT)
    given = parser.parse_args()
    manifest = read_manifest(given.data)
    count = min(given.clips, len(manifest))
    clips = [manifest.clips[i * len(manifest) // count] for i in range(count)]
    names = [clip.path.replace("/", "-").rsplit(".", 1)[0] + ".mp4" for clip in clips]
    raw = given.work / "originals"
    raw.mkdir(parents=True, exist_ok=True)
    for clip, name in zip(clips, names, strict=True):
        if not (raw / name).exists():
            (raw / name).symlink_to(manifest.path(clip).resolve())
    rows = []
    for way in WAYS:
        folder = given.work / way.name.replace(" ", "-").replace(",", "")
        folder.mkdir(parents=True, exist_ok=True)
        each, missed = [], 0
        beside: list[list[str]] | None = [] if given.raw else None
        for name in names:
            src, dst = raw / name, folder / name
            publish(way, src, dst)
            each.append(recovered(attack(dst, None)))
            if way.shows and way.method is not None:
                missed += "raw" in recovered(attack(dst, src))
        if given.raw and way.method is not None:  # of raw video itself there is nothing to compare
            found = attack_together([folder / name for name in names], raw)
            beside = [recovered(one) for one in found]
        rows.append(row(way, each, beside, missed))
        print(rows[-1], flush=True)
    about = (
        f"Made by `python benchmarks/attack_alarms.py --data {given.data.name} --clips {count}"
        f"{' --raw' if given.raw else ''}`: "
        f"{count} real clips, evenly spaced in the manifest, attacked without the raw video, as "
        "`masquerade attack` does with `--hidden people`. Where nothing of anybody is left, every "
        "alarm is a false one. `missed`: clips in which the raw video beside shows an unchanged "
        "face."
    )
    with_raw = (
        "*Beside raw*: the same with `--raw`, all clips together, so that networks learn to "
        "restore from other clips and their raw videos."
    )
    receipts = (
        "No receipt lies beside the files. With its own one and the raw video beside it, a file of "
        "drawn figures or silhouettes has no face to recover: the detector takes drawn heads for "
        "faces."
    )
    lines = ["# False alarms of attack", "", *textwrap.wrap(about, 120), ""]
    lines += [*textwrap.wrap(receipts, 120), ""]
    lines += [*textwrap.wrap(with_raw, 120), ""] if given.raw else []
    more = " beside raw | by |" if given.raw else ""
    lines.append(f"| published | clips | something recovered | by |{more} missed |")
    lines.append("|---" * lines[-1].count(" | ") + "|---|")
    given.output.write_text("\n".join([*lines, *rows, ""]))


if __name__ == "__main__":
    main()
