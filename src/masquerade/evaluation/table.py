"""How far methods hold: freeze, transform, fit attackers, choose on validation, report on test.

The attacker moves last. Controls run first, on raw video; where they fail the result says void.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from masquerade.anonymizer import Anonymizer
from masquerade.checkpoint import arguments
from masquerade.data.clips import ClipStore, load_clips
from masquerade.data.folds import linked_groups
from masquerade.data.manifest import IntArray, Manifest
from masquerade.data.transform import RegionFactory
from masquerade.evaluation.attackers import ATTACKERS, candidates, families, fits_of, on_raw
from masquerade.evaluation.bench import Bench, Progress
from masquerade.evaluation.controls import (
    DEALS,
    Chance,
    chance_of,
    clip_size,
    negative,
    positive,
    void_of,
)
from masquerade.evaluation.judge import Case, best_of, finding, recognised
from masquerade.evaluation.learners import shuffled, without
from masquerade.evaluation.presets import preset_of
from masquerade.evaluation.protocols import (
    Protocol,
    action_column,
    label_columns,
    protocols,
    straddling,
)
from masquerade.evaluation.results import SCHEMA, Control, Evaluation, Finding, Row
from masquerade.evaluation.targets import Target, measured, sheet_of, targets_of
from masquerade.methods import METHODS, name_of
from masquerade.settings import choose_device


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One line of the table.

    Args:
        name: as the table calls it.
        method: an anonymizer; None: raw video, or a line that is not run.
        regions: what it hides; a name in REGIONS, or what makes a region source.
        not_applicable: why it is not run; None: it is.
        outside: what becomes of all that is not hidden.
    """

    name: str
    method: Anonymizer | None
    regions: RegionFactory | str | None = None
    not_applicable: str | None = None
    outside: Literal["keep", "black"] = "keep"


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How an evaluation is done.

    Args:
        attackers: families in ATTACKERS.
        folds: of the cross-validation; 0: the manifest's own splits.
        seeds: networks of each kind.
        preset: in PRESETS.
        through_file: attack exported, re-decoded files.
        workers: processes; 0: one a core.
        device: auto, cpu, cuda, mps.
        seed: of folds, networks and, a stream for each video, the methods' noise.
        labels: the private ones that are attacked; None: all.
    """

    attackers: tuple[str, ...] = tuple(ATTACKERS)
    folds: int = 5
    seeds: int = 3
    preset: str = "tiny"
    through_file: bool = False
    workers: int = 0
    device: str = "auto"
    seed: int = 0
    labels: tuple[str, ...] | None = None


def evaluate(
    manifest: Manifest,
    entries: Sequence[Entry],
    plan: Plan,
    *,
    data: str,
    folder: Path | None = None,
    command: str = "",
    limits: Sequence[str] = (),
    progress: Progress | None = None,
) -> Evaluation:
    """Measure utility and leakage of methods on a labelled dataset; raw video comes first.

    Args:
        manifest: the clips and their labels.
        entries: the methods, without raw video.
        plan: how.
        data: the dataset's name.
        folder: for clips, weights and answers; what is there is not done again. None: nothing is
            kept.
        command: that asks for this, to stand beside the numbers.
        limits: of the data, to stand under the table.
        progress: called with (what, fits done, fits in all).
    """
    with tempfile.TemporaryDirectory() as scratch:
        run = _Run(manifest, plan, folder or Path(scratch), progress)
        raw = run.row(Entry(name="raw", method=None), None)
        controls = (*run.controls(raw), *run.sizes(raw))
        utility = action_column(manifest)
        void = void_of(controls, utility)
        failed = {c.label for c in controls if c.kind == "positive" and not c.passed}
        run.voided = {label: "the attacker does not succeed on raw video" for label in failed}
        rows = [run.judged(raw, None)]
        for entry in entries:
            rows.append(run.judged(run.row(entry, raw), raw))
    return Evaluation(
        schema=SCHEMA,
        data=data,
        command=command,
        preset=plan.preset,
        folds=plan.folds,
        seeds=plan.seeds,
        attackers=run.families,
        through_file=plan.through_file,
        controls=controls,
        void=void,
        limits=(*limits, *label_columns(manifest, plan.labels)[2]),
        rows=tuple(rows),
    )


@dataclass(frozen=True, kw_only=True)
class _Answers:
    """A line of the table before it is judged."""

    entry: Entry
    clips: ClipStore | None
    folder: Path | None
    cases: Mapping[str, Case]  # by protocol
    cpu_seconds: float


class _Run:
    """One evaluation: what all lines share."""

    def __init__(
        self, manifest: Manifest, plan: Plan, folder: Path, progress: Progress | None
    ) -> None:
        self.manifest, self.plan, self.folder = manifest, plan, folder
        self.preset = preset_of(plan.preset)
        self.families = families(plan.attackers)
        self.groups = linked_groups(manifest)
        self.protocols = protocols(manifest, folds=plan.folds, seed=plan.seed, labels=plan.labels)
        self.targets = {one.name: targets_of(manifest, one) for one in self.protocols}
        self.voided: dict[str, str] = {}
        self.progress = progress
        device = choose_device(plan.device).type
        self.bench = Bench(
            folder=folder / "fits",
            preset=self.preset,
            seeds=plan.seeds,
            workers=plan.workers or os.cpu_count() or 1,
            device=device,
            progress=progress,
        )

    def row(self, entry: Entry, raw: _Answers | None) -> _Answers:
        """Transform the clips and let every attacker answer."""
        if entry.not_applicable:
            return _Answers(entry=entry, clips=None, folder=None, cases={}, cpu_seconds=0.0)
        clips = self._loaded(entry)
        folder = self.bench.stored(entry.name, clips)
        names = on_raw(self.families) if raw is None else self.families
        fits = fits_of(names, self.preset, raw=raw is None)
        told, spent = self.bench.answered(
            folder, fits, self.protocols, self.manifest, raw=None if raw is None else raw.folder
        )
        cases = {}
        for protocol, answered in zip(self.protocols, told, strict=True):
            mine = _of_rows(protocol, clips.rows)
            codes = {label: self.manifest.targets(label) for label in protocol.heads}
            validation, test = (
                sheet_of(self.manifest, mine, part=part, codes=codes)
                for part in ("validation", "test")
            )
            cases[protocol.name] = Case(
                validation=validation,
                test=test,
                clusters=self.groups[test.rows],
                candidates=tuple(candidates(names, self.preset, protocol, answered, test.overall)),
                prior="prior" in self.families,
                rows=clips.rows,
            )
        return _Answers(entry=entry, clips=clips, folder=folder, cases=cases, cpu_seconds=spent)

    def judged(self, mine: _Answers, raw: _Answers | None) -> Row:
        """The line of the table."""
        entry, found = mine.entry, []
        for protocol in self.protocols if mine.cases else ():
            found += self._findings(protocol, mine, raw)
        method = entry.method
        return Row(
            name=entry.name,
            method=None if method is None else _name(method),
            arguments={} if method is None else _plain(arguments(method)),
            regions=_region_name(entry.regions) + ("" if entry.outside == "keep" else " alone"),
            not_applicable=entry.not_applicable,
            clips=0 if mine.clips is None else len(mine.clips),
            skipped=_skipped(self.manifest, mine.clips),
            cpu_seconds=round(mine.cpu_seconds, 1),
            findings=tuple(found),
        )

    def controls(self, raw: _Answers) -> list[Control]:
        """The positive and the negative control, on raw video."""
        found = [positive(one) for one in self.judged(raw, None).findings]
        people = {name: one for name, one in self.preset.learners.items() if not one.place}
        kernels = [name for name, one in people.items() if one.network is None][:1]
        networks = [name for name, one in people.items() if one.network is not None][:1]
        for protocol in self.protocols:
            for learner in (*networks, *kernels):
                found += self._negative(protocol, learner, raw)
        return found

    def sizes(self, raw: _Answers) -> list[Control]:
        """What the clips' sizes tell, of every label."""
        assert raw.clips is not None
        found = []
        for whole in self.protocols:
            protocol = _of_rows(whole, raw.clips.rows)
            codes = {label: self.manifest.targets(label) for label in protocol.heads}
            sheet = sheet_of(self.manifest, protocol, part="test", codes=codes)
            groups = self.groups[sheet.rows]
            for target in self.targets[protocol.name]:
                found += clip_size(self.manifest, protocol, target, sheet, groups)
        return found

    def _negative(self, protocol: Protocol, learner: str, raw: _Answers) -> list[Control]:
        """At chance in the first shuffle, or in the second; a third would be asking for it."""
        targets = self.targets[protocol.name]
        tests: dict[str, list[Chance]] = {target.name: [] for target in targets}
        found: list[Control] = []
        for deal in range(1, DEALS + 1):
            for target, one in zip(targets, self._dealt(protocol, learner, raw, deal), strict=True):
                tests[target.name].append(one)
            found = [negative(target, tests[target.name]) for target in targets]
            if all(control.passed for control in found):
                break
        return found

    def _dealt(self, protocol: Protocol, learner: str, raw: _Answers, deal: int) -> list[Chance]:
        """What a learner finds of each label, labels having been dealt to other clips."""
        assert raw.clips is not None and raw.folder is not None
        mine = _of_rows(protocol, raw.clips.rows)
        whole = {label: self.manifest.targets(label) for label in protocol.heads}
        codes = shuffled(whole, seed=self.plan.seed + deal)
        (answered,), _ = self.bench.answered(
            raw.folder, [(learner, "fresh")], [protocol], self.manifest, codes=codes, deal=deal
        )
        sheet = sheet_of(self.manifest, mine, part="test", codes=codes)
        (one,) = candidates(("retrained", "motion"), self.preset, protocol, answered, {})
        return [
            (
                measured(target, sheet, one.test[0]),
                chance_of(target, sheet),
                self.groups[sheet.rows],
            )
            for target in self.targets[protocol.name]
        ]

    def _findings(self, protocol: Protocol, mine: _Answers, raw: _Answers | None) -> list[Finding]:
        case = mine.cases[protocol.name]
        before = None if raw is None else raw.cases[protocol.name]
        act = _action_target(self.manifest, protocol)
        predicted = recognised(act, case)
        utility = self._utility(mine)
        found: list[Finding] = []
        for target in self.targets[protocol.name]:
            found.append(
                finding(
                    target,
                    case,
                    before,
                    predicted=predicted,
                    action=utility if target.use == "private" else None,
                    void=self.voided.get(target.name),
                )
            )
        return found

    def _utility(self, mine: _Answers) -> float | None:
        """The score of the action on unseen people."""
        for protocol in self.protocols:
            for target in self.targets[protocol.name]:
                if target.use == "utility":
                    return best_of(target, mine.cases[protocol.name]).test.value
        return None

    def _loaded(self, entry: Entry) -> ClipStore:
        preset = self.preset
        return load_clips(
            self.manifest,
            frames=preset.frames,
            size=preset.size,
            stride=preset.stride,
            method=entry.method,
            regions=entry.regions,
            outside=entry.outside,
            seed=self.plan.seed,
            cache=self.folder / "clips",
            through_file=self.plan.through_file,
            sample_first=preset.sample_first and not self.plan.through_file,
            workers=self.bench.workers,
            progress=self._transformed(entry.name),
        )

    def _transformed(self, name: str) -> Any:
        if self.progress is None:
            return None
        talk = self.progress
        return lambda done, of: talk(f"{name}: videos", done, of)


def leaks(manifest: Manifest, plan: Plan) -> IntArray:
    """Groups of people that some fold has on both sides where they should be unseen.

    Args:
        manifest: the clips.
        plan: whose folds.
    """
    unseen = protocols(manifest, folds=plan.folds, seed=plan.seed)[0]
    return straddling(unseen, linked_groups(manifest))


def _of_rows(protocol: Protocol, rows: IntArray) -> Protocol:
    return replace(protocol, folds=tuple(without(fold, rows) for fold in protocol.folds))


def _action_target(manifest: Manifest, protocol: Protocol) -> Target:
    action = action_column(manifest)
    metric = "cMAP" if action in protocol.many else "top-1"
    return Target(
        name=action, columns=(action,), use="utility", metric=metric, protocol=protocol.name
    )


def _name(method: Anonymizer) -> str:
    """In METHODS; of one that is not there, such as a reader's own, its class."""
    return name_of(method) if type(method) in METHODS.values() else type(method).__qualname__


def _plain(given: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments as JSON holds them; of one that is a method, its own."""
    plain: dict[str, Any] = {}
    for key, value in given.items():
        if isinstance(value, Anonymizer):
            plain[key] = {"method": _name(value), **_plain(arguments(value))}
        else:
            plain[key] = list(value) if isinstance(value, tuple) else value
    return plain


def _region_name(regions: RegionFactory | str | None) -> str:
    if regions is None or isinstance(regions, str):
        return regions or "frame"
    inner = getattr(regions, "func", regions)
    return str(getattr(inner, "name", getattr(inner, "__name__", "frame")))


def _skipped(manifest: Manifest, clips: ClipStore | None) -> dict[str, str]:
    if clips is None:
        return {}
    return {manifest.clips[row].path: why for row, why in clips.skipped.items()}
