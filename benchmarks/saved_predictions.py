"""What attackers predicted in a table of a suite, read again from what the run left."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from masquerade.benchmark.suite import read_suite, suite_names
from masquerade.cli import evaluate as evaluation
from masquerade.cli.benchmark import Options
from masquerade.cli.benchmark_plan import places_of, plan_table
from masquerade.datasets.manifest import Manifest
from masquerade.evaluation.attacker_choice import ScoringInput
from masquerade.evaluation.attackers import families_on_raw, get_families
from masquerade.evaluation.evaluator import PREDICTIONS
from masquerade.evaluation.ground_truth import GroundTruth
from masquerade.evaluation.metric_specs import MetricSpec, metric_specs
from masquerade.evaluation.predictions import Predictions
from masquerade.evaluation.presets import AttackerModel, get_preset
from masquerade.evaluation.protocols import protocols
from masquerade.evaluation.scoring import scoring_inputs

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "docs" / "results"
Inputs = Mapping[str, ScoringInput]


@dataclass(frozen=True, kw_only=True, eq=False)
class SavedTable:
    """The predictions of all rows of a table, beside the truth."""

    predictions: Predictions
    manifest: Manifest
    truth: GroundTruth
    specs: Mapping[str, tuple[MetricSpec, ...]]  # what is measured, by protocol
    models: Mapping[str, AttackerModel]
    families: tuple[str, ...]

    @cached_property
    def rows(self) -> list[str]:
        """Their names, raw video first."""
        return list(dict.fromkeys(key.method for key in self.predictions.blocks))

    @property
    def seeds(self) -> list[int]:
        """The seeds of attackers."""
        return sorted({key.seed for key in self.predictions.blocks})

    def is_trained(self, row: str) -> bool:
        """Whether a row is of several trainings, each attacked by itself."""
        return len({key.run for key in self.predictions.blocks if key.method == row}) > 1

    def lines(self, learned: Collection[str] = (), **fields: object) -> list[tuple[str, Inputs]]:
        """Each row and what is scored of it, of predictions whose keys have these values.

        `learned` are the rows of trained methods, of which one run may be all there is.
        """
        return [
            (
                row,
                scoring_inputs(
                    self.predictions.select(method=row, **fields),
                    self.truth,
                    families_on_raw(self.families) if row == "raw" else self.families,
                    self.models,
                    per_run=self.is_trained(row),
                    learned=row in learned,
                ),
            )
            for row in self.rows
        ]


def read_saved(given: Namespace) -> SavedTable:
    """The table that was asked for."""
    suite = read_suite(given.suite)
    options = Options(suite=given.suite, output=given.work, data=given.data)
    places, table = places_of(suite, options), suite.table(given.table)
    planned = plan_table(suite, table, places, options)
    manifest, _ = evaluation.read_clips(planned.options)
    config = evaluation.config_of(planned.options)
    found = protocols(manifest, folds=config.folds, seed=config.seed, labels=config.labels)
    models = get_preset(config.preset).attackers
    file = places.folder / "attacks" / "-".join(table.attacked) / PREDICTIONS
    return SavedTable(
        predictions=Predictions.load(given.predictions or file),
        manifest=manifest,
        truth=GroundTruth.of(manifest, found),
        specs=metric_specs(manifest, found, config.metrics),
        models=models,
        families=get_families(config.attackers, models),
    )


def add_arguments(parser: ArgumentParser) -> None:
    """Which table, and where its run left what it predicted."""
    parser.add_argument("suite", choices=suite_names())
    parser.add_argument("table")
    parser.add_argument("--work", type=Path, default=Path(), help="-o of the benchmark")
    parser.add_argument(
        "--predictions", type=Path, help="the file, where it does not lie in --work"
    )
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--out", type=Path, default=RESULTS)
