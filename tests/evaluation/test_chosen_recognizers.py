"""Networks that are named, and the mean of what they read."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import scenes
from scenes import CONFIG

from masquerade.cli.evaluate import config_of, parse
from masquerade.datasets.manifest import Manifest
from masquerade.errors import UsageError
from masquerade.evaluation import EvaluatedMethod, evaluate, from_json
from masquerade.evaluation.chosen_recognizers import network_means, recognizer, with_recognizers
from masquerade.evaluation.metric_specs import of_known
from masquerade.evaluation.presets import PRESETS
from masquerade.evaluation.trade_offs import Scored, check_weights, trade_offs
from masquerade.methods import build
from masquerade.metrics.classification import auroc
from masquerade.metrics.intervals import score
from masquerade.metrics.statistic import Floats, Ints, mean, values_left_out
from masquerade.report.table import markdown


def test_named_networks_take_the_place_of_the_presets() -> None:
    paper = PRESETS["paper"]
    chosen = with_recognizers(paper, ["resnet-101", "r3d-18", "e2s-x3d-s", "st-gcn"])
    networks = {name: one for name, one in chosen.attackers.items() if one.network}
    assert list(networks) == ["resnet-101", "r3d-18", "e2s-x3d-s", "st-gcn"]
    assert networks["r3d-18"] == paper.attackers["r3d-18"]  # the preset's own
    fed = {name: (one.modality, one.content) for name, one in networks.items()}
    assert fed["resnet-101"] == ("stills", "frames")
    assert fed["e2s-x3d-s"] == ("frames and flow", "frames")
    assert fed["st-gcn"] == ("poses", "poses")
    kernels = [name for name, one in paper.attackers.items() if one.network is None]
    assert [name for name in chosen.attackers if name not in networks] == kernels
    assert with_recognizers(paper, None) is paper
    assert recognizer("tiny-flow").channel == "motion"


@pytest.mark.parametrize("names", [[], ["resnet-152"]])
def test_unknown_networks_are_refused(names: list[str]) -> None:
    with pytest.raises(UsageError):
        with_recognizers(scenes.SMALL, names)


def test_the_command_names_networks() -> None:
    words = ["--data", "a.csv", "--method", "blur", "--recognizers", "resnet-18, r3d-18"]
    config = config_of(parse([*words, "--average"])[0])
    assert config.recognizers == ("resnet-18", "r3d-18") and config.average
    assert config_of(parse(words[:4])[0]).recognizers is None
    assert config_of(parse([*words, "--lambdas", "0,.5, 1"])[0]).lambdas == (0, 0.5, 1)
    with pytest.raises(UsageError, match="--lambdas wants numbers"):
        config_of(parse([*words, "--lambdas", "half"])[0])
    with pytest.raises(UsageError, match="from 0 to 1"):
        check_weights([0.5, 2])


def test_the_mean_over_networks_stands_beside_the_strongest(
    manifest: Manifest, tmp_path: Path
) -> None:
    plan = replace(
        CONFIG,
        preset="small",
        folds=2,
        attackers=("scratch", "raw"),
        labels=("red",),
        recognizers=("tiny-2d", "tiny-3d"),
        average=True,
        lambdas=(0.0, 0.25, 1.0),
        reidentification=False,
    )
    few = manifest.take(range(0, len(manifest), 2))
    line = [EvaluatedMethod(name="copy", anonymizer=build("downsample", factor=2))]
    result = evaluate(few, line, plan, data="x", folder=tmp_path)
    assert from_json(result.to_json()) == result
    row = result.rows[1]
    for found in row.findings:
        mean = {(one.family, one.reads): one for one in found.means}
        assert {family for family, _ in mean} == {"scratch", "raw"}
        for (family, reads), one in mean.items():
            assert one.networks == (("tiny-2d",) if reads == "stills" else ("tiny-3d",))
            (name,) = one.networks
            (own,) = [a for a in found.attacks if a.name == f"{family} {name}"]
            assert one.score.value == pytest.approx(own.test.value)
    action, red = row.findings[0], row.finding("red")
    assert red is not None and red.score.value is not None and action.score.value is not None
    assert not action.trade_offs and [one.weight for one in red.trade_offs] == [0, 0.25, 1]
    read = max(red.score.value, 0.5)  # who reads less than a guess would turn it around
    for one in red.trade_offs:
        wanted = (1 - one.weight) * action.score.value + one.weight * (1 - read)
        assert one.score.value == pytest.approx(wanted)
        assert one.score.low is not None and one.score.low <= wanted <= (one.score.high or 0)
    assert red.trade_offs[0].score.value == pytest.approx(action.score.value)
    kept = {one.family: one.score.value for one in action.means if one.reads == "clips"}
    assert not any(one.trade_offs for one in action.means) and len(red.means) == 4
    for mean in red.means:  # of the action's mean over networks of the same training
        assert mean.score.value is not None
        read, own = max(mean.score.value, 0.5), kept[mean.family]
        assert own is not None
        found = [one.score.value for one in mean.trade_offs]
        wanted = [(1 - weight) * own + weight * (1 - read) for weight in (0, 0.25, 1)]
        assert found == pytest.approx(wanted)
    page = markdown(result)
    assert "## Mean over networks" in page and "## f_lambda" in page
    assert "mean of stills networks, raw" in page
    plain = replace(result, rows=tuple(_without(one) for one in result.rows))
    assert "## Mean over networks" not in markdown(plain) and "## f_lambda" not in markdown(plain)


@pytest.mark.parametrize("weight", [0.5, 1.0])
def test_an_interval_of_a_trade_off_ends_where_it_can(weight: float) -> None:
    """An AUROC below .5 counts as .5, so that f at weight 1 is .5 at most."""
    groups, rng = np.arange(24) // 4, np.random.default_rng(3)
    action = Scored(mean(np.ones(24)), (), np.arange(24), groups)
    ends = []
    for _ in range(8):
        private = auroc((np.arange(6) % 2)[groups] * 1.0, rng.normal(size=24))
        read = Scored(private, (), np.arange(24), groups)
        (found,) = trade_offs(action, read, [weight], metric="AUROC")
        ends.append(found.score.high or 0.0)
    assert max(ends) == pytest.approx(1 - weight / 2)


@pytest.mark.parametrize("action", [0.0, 1.0])
def test_an_action_that_is_always_or_never_told_leaves_a_trade_off_unsure(action: float) -> None:
    """The jackknife has no spread of it, and took it for known exactly."""
    groups = np.arange(40) // 4
    told, read = mean(np.full(40, action)), mean(np.isin(np.arange(40) % 10, (0, 4, 7)))
    parts = [Scored(one, (), np.arange(40), groups) for one in (told, read)]
    found = [one.score for one in trade_offs(*parts, [0, 0.5, 1], metric="top-1")]
    own, private = (score(one, clusters=groups) for one in (told, read))
    assert own.low is not None and own.high is not None and own.high - own.low > 0.3
    assert private.value is not None and private.low is not None and private.high is not None
    assert found[0] == own
    assert found[2] == replace(
        private, value=1 - private.value, low=1 - private.high, high=1 - private.low
    )
    half = found[1]
    assert half.value == pytest.approx((action + 0.7) / 2)
    assert half.low is not None and half.high is not None
    below = math.hypot(action - own.low, private.high - private.value) / 2
    above = math.hypot(own.high - action, private.value - private.low) / 2
    assert half.low <= half.value - below + 1e-9 and half.value + above <= half.high + 1e-9


def test_a_trade_off_is_of_the_clips_with_a_label() -> None:
    """Groups without one would look like many that agree."""
    groups, known = np.arange(48) // 4, np.arange(16)
    told = of_known(mean(np.arange(16) % 3 > 0), known, 48)
    some = Scored(told, (), np.arange(48), groups)
    alone = Scored(mean(np.arange(16) % 3 > 0), (), known, groups[:16])
    every, labelled = (
        trade_offs(one, one, [0.3], metric="top-1")[0].score for one in (some, alone)
    )
    assert every == labelled and every.clusters == 4


def test_parts_of_a_trade_off_are_jackknifed_once_for_all_weights() -> None:
    """Of labels of a thousand values a jackknife takes seconds."""
    groups, calls = np.arange(24) // 4, []
    plain = mean(np.arange(24) % 5 > 1)

    def left_out(codes: Ints) -> Floats:
        calls.append(codes)
        return values_left_out(plain, codes)

    counted = Scored(replace(plain, left_out=left_out), (), np.arange(24), groups)
    trade_offs(counted, counted, [0, 0.25, 0.5, 0.75, 1], metric="top-1")
    assert len(calls) == 1


def _without(row):
    return replace(row, findings=tuple(replace(f, means=(), trade_offs=()) for f in row.findings))


def test_means_over_networks_are_of_the_same_ones_with_published_weights_for_some() -> None:
    """Those without such weights stand there as they were trained from scratch."""
    right = {
        ("scratch", "resnet-50"): 0,
        ("scratch", "resnet-18"): 1,
        ("published", "resnet-50"): 4,
    }
    scored: list[Any] = []
    for (family, name), count in right.items():
        test = mean(np.arange(5) < count)
        outputs = SimpleNamespace(family=family, name=f"{family} {name}")
        scored.append(SimpleNamespace(outputs=outputs, test=test, runs=[]))
    models = {name: recognizer(name) for name in ("resnet-50", "resnet-18")}
    found = {one.family: one for one, _, _ in network_means(scored, models, np.arange(5))}
    assert set(found["published"].networks) == set(found["scratch"].networks) == {*models}
    assert found["scratch"].score.value == pytest.approx(0.1)
    assert found["published"].score.value == pytest.approx(0.5)
