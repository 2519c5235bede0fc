"""How far methods hold: freeze, transform, fit attackers, choose on validation, report on test.

The attacker moves last. Controls run first, on raw video; where they fail the result says void.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from masquerade.anonymizer import Anonymizer
from masquerade.checkpoint import arguments
from masquerade.datasets.manifest import IntArray, Manifest
from masquerade.datasets.splits import linked_groups
from masquerade.device import choose_device
from masquerade.errors import MasqueradeError, UsageError
from masquerade.evaluation.attackers import Answered, candidates, families, fits_of, on_raw
from masquerade.evaluation.attributes import counted, every_target
from masquerade.evaluation.config import Entry, Plan
from masquerade.evaluation.controls import (
    DEALS,
    Chance,
    chance_of,
    clip_size,
    negative,
    positive,
    void_of,
)
from masquerade.evaluation.executor import Bench, Progress
from masquerade.evaluation.fit_predict import Start, Told, shuffled, without
from masquerade.evaluation.metric_specs import Target, measured, sheet_of
from masquerade.evaluation.presets import preset_of
from masquerade.evaluation.protocols import (
    Protocol,
    action_column,
    label_columns,
    protocols,
    straddling,
    untold,
)
from masquerade.evaluation.results import SCHEMA, Control, Evaluation, Finding, Row
from masquerade.evaluation.scoring import Case, best_of, finding, recognised
from masquerade.extraction.config import RegionFactory
from masquerade.extraction.dataset import ClipDataset
from masquerade.extraction.extract import extract_clips
from masquerade.methods import METHODS, name_of


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
        run = Run(manifest, plan, folder or Path(scratch), progress)
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
        limits=(*limits, *run.notes),
        rows=tuple(rows),
    )


@dataclass(frozen=True, kw_only=True)
class Line:
    """A line of the table before it is judged.

    Args:
        entry: what it is of.
        clips: rewritten; None: it was not run.
        folder: where they and the answers lie.
        cases: everything that was told, by protocol.
        cpu_seconds: as in `Row`.
    """

    entry: Entry
    clips: ClipDataset | None
    folder: Path | None
    cases: Mapping[str, Case]
    cpu_seconds: float


class Run:
    """One evaluation: what all lines share."""

    def __init__(
        self, manifest: Manifest, plan: Plan, folder: Path, progress: Progress | None
    ) -> None:
        self.manifest, self.plan, self.folder = manifest, plan, folder
        self.preset = preset_of(plan.preset)
        self.families = families(plan.attackers)
        self.groups = linked_groups(manifest)
        self.protocols = protocols(manifest, folds=plan.folds, seed=plan.seed, labels=plan.labels)
        self.targets = every_target(manifest, self.protocols, plan.metrics)
        self.voided: dict[str, str] = {}
        left_out = (*label_columns(manifest, plan.labels)[2], *untold(self.protocols))
        self.notes = dict.fromkeys(left_out)  # each is said once
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

    def row(self, entry: Entry, raw: Line | None) -> Line:
        """Transform the clips and let every attacker answer."""
        if entry.not_applicable:
            return Line(entry=entry, clips=None, folder=None, cases={}, cpu_seconds=0.0)
        names = on_raw(self.families) if raw is None else self.families
        fits = fits_of(names, self.preset, raw=raw is None)
        base = None if raw is None else raw.folder
        told: Sequence[Answered]
        if entry.runs:
            clips, folder, told, spent = self._by_run(entry, fits, base)
        else:
            clips = self._loaded(entry, entry.method)
            folder = self.bench.folder_of(entry.name, clips)
            told, spent = self.bench.answered(
                clips, folder, fits, self.protocols, self.manifest, raw=base
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
                apart=bool(entry.runs),
            )
        return Line(entry=entry, clips=clips, folder=folder, cases=cases, cpu_seconds=spent)

    def _by_run(
        self, entry: Entry, fits: Sequence[tuple[str, Start]], base: Path | None
    ) -> tuple[ClipDataset, Path, Sequence[Answered], float]:
        """Every seed's fold by an anonymizer of its own, and what attackers of it answered."""
        folds = max(1, self.plan.folds)
        if len(entry.runs[0]) != folds:
            raise UsageError(
                f"{entry.name} has {len(entry.runs[0])} trained anonymizers a seed, and there are "
                f"{folds} folds: each fold needs one that has not seen its test."
            )
        if len(entry.runs) > self.plan.seeds:
            raise UsageError(f"{entry.name} has {len(entry.runs)} seeds; give as many --seeds.")
        told: list[dict[tuple[str, Start], list[list[Told]]]] = [{} for _ in self.protocols]
        stores, folders, spent = [], [], 0.0
        for seed, run in enumerate(entry.runs):
            for fold, method in enumerate(run):
                stores.append(self._loaded(entry, method))
                folders.append(self.bench.folder_of(entry.name, stores[-1]))
                mine = [replace(one, folds=(one.folds[fold],)) for one in self.protocols]
                found, cost = self.bench.answered(
                    stores[-1], folders[-1], fits, mine, self.manifest, raw=base, only=seed
                )
                spent += cost
                for known, new in zip(told, found, strict=True):
                    for key, by_seed in new.items():
                        seeds = known.setdefault(key, [])
                        if fold == 0:
                            seeds.append([])
                        seeds[-1] += by_seed[0]
        if len({store.rows.tobytes() for store in stores}) > 1:
            raise MasqueradeError(f"{entry.name}: not every trained anonymizer got every clip.")
        return stores[0], folders[0], told, spent

    def judged(self, mine: Line, raw: Line | None) -> Row:
        """The line of the table."""
        entry, found = mine.entry, []
        for protocol in self.protocols if mine.cases else ():
            found += self._findings(protocol, mine, raw)
        method = entry.shown
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
            runs=max(1, len(entry.runs)),
        )

    def controls(self, raw: Line) -> list[Control]:
        """The positive and the negative control, on raw video."""
        found = [positive(one) for one in self.judged(raw, None).findings]
        people = {name: one for name, one in self.preset.learners.items() if not one.place}
        kernels = [name for name, one in people.items() if one.network is None][:1]
        networks = [name for name, one in people.items() if one.network is not None][:1]
        for protocol in self.protocols:
            for learner in (*networks, *kernels):
                found += self._negative(protocol, learner, raw)
        return found

    def sizes(self, raw: Line) -> list[Control]:
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

    def _negative(self, protocol: Protocol, learner: str, raw: Line) -> list[Control]:
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

    def _dealt(self, protocol: Protocol, learner: str, raw: Line, deal: int) -> list[Chance]:
        """What a learner finds of each label, labels having been dealt to other clips."""
        assert raw.clips is not None and raw.folder is not None
        mine = _of_rows(protocol, raw.clips.rows)
        whole = {label: self.manifest.targets(label) for label in protocol.heads}
        codes = shuffled(whole, seed=self.plan.seed + deal)
        (answered,), _ = self.bench.answered(
            raw.clips,
            raw.folder,
            [(learner, "fresh")],
            [protocol],
            self.manifest,
            codes=codes,
            deal=deal,
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

    def _findings(self, protocol: Protocol, mine: Line, raw: Line | None) -> list[Finding]:
        case = mine.cases[protocol.name]
        before = None if raw is None else raw.cases[protocol.name]
        act = _action_target(self.manifest, protocol)
        predicted = recognised(act, case)
        utility = self._utility(mine)
        found: list[Finding] = []
        for target in self.targets[protocol.name]:
            self.notes |= dict.fromkeys(counted(mine.entry.name, target, case.test))
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

    def _utility(self, mine: Line) -> float | None:
        """The score of the action on unseen people."""
        for protocol in self.protocols:
            for target in self.targets[protocol.name]:
                if target.use == "utility":
                    return best_of(target, mine.cases[protocol.name]).test.value
        return None

    def _loaded(self, entry: Entry, method: Anonymizer | None) -> ClipDataset:
        preset = self.preset
        return extract_clips(
            self.manifest,
            frames=preset.frames,
            size=preset.size,
            stride=preset.stride,
            method=method,
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


def _skipped(manifest: Manifest, clips: ClipDataset | None) -> dict[str, str]:
    if clips is None:
        return {}
    return {manifest.clips[row].path: why for row, why in clips.skipped.items()}
