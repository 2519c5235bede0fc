"""The ablations of recipes, which are the flags of `masquerade train`."""

from __future__ import annotations

import inspect
import math
from dataclasses import replace
from typing import Any, get_args, get_type_hints

import pytest
from toy_training import ADVERSARIAL, data, recipe, register_painter

from masquerade.cli.train import parse
from masquerade.errors import UsageError
from masquerade.models.recognizers import RECOGNIZERS
from masquerade.training.adversarial_training import train_adversarially
from masquerade.training.clips import clip_config
from masquerade.training.frame_pairs import FAR, FREE
from masquerade.training.objectives import Labels, MoCo, NTXent
from masquerade.training.recipe import Stop, UpdateStep
from masquerade.training.recipes import RECIPES, recipe_function
from masquerade.training.recipes.options import ablate
from masquerade.training.recipes.spact import spact
from masquerade.training.recipes.vita import vita

painter = pytest.fixture(autouse=True)(register_painter)

PRESETS = [
    (name, preset)
    for name, make in RECIPES.items()
    for preset in get_args(get_type_hints(make)["preset"])
]


def test_clips_are_as_large_as_what_the_method_sees() -> None:
    """Else it would learn from enlarged clips, and be used on sharp frames."""
    for name, preset in PRESETS:
        whole = recipe_function(name)(preset=preset)
        assert whole.with_arguments(whole.arguments).size == whole.size
    for words, size in (
        (["spact", "--preset", "paper", "--short", "224"], (224, 224)),
        (["spact", "--short", "48"], (48, 64)),
        (["spact", "--short", "16"], (24, 32)),
        (["stprivacy", "--preset", "paper", "--picture", "224", "224"], (224, 224)),
    ):
        assert parse([*words, "--data", "none.csv", "-o", "run"])[1].size == size, words


def test_an_objective_changes_and_its_pairs_stay() -> None:
    changed = spact(preset="paper", objective="moco", queue=4096, gap="far")
    (one,) = changed.adversaries
    assert one.objective == MoCo(queue=4096) and changed.gap == FAR
    runs = spact(preset="paper", segments=True, adversary=("r3d-18",))
    assert [one.objective for one in runs.adversaries] == [NTXent(segments=True)]
    assert ablate(changed, gap="free").gap == FREE == spact(preset="paper").gap
    assert spact(gap="free").gap is None  # its clips are of the whole video
    assert runs.gap is None and spact(preset="paper", objective="labels").gap is None
    assert spact(preset="paper", no_adversary=True).gap is None


def test_spact_against_labels_is_the_supervised_row_of_its_tables() -> None:
    """The same networks and steps, the rates and batches of its code's supervised settings."""
    plain, supervised = spact(preset="paper"), spact(preset="paper", objective="labels")
    assert (supervised.method, supervised.arguments) == (plain.method, plain.arguments)
    assert (supervised.utility, supervised.phases) == (plain.utility, plain.phases)
    (adversary,) = supervised.adversaries
    assert adversary.network == "resnet-50" and isinstance(adversary.objective, Labels)
    assert (supervised.batch, supervised.still_batch) == (24, 24) and plain.still_batch == 64
    rates = {role: one.lr for role, one in supervised.optimizers.items()}
    assert rates == {role: one.lr for role, one in plain.optimizers.items()} | {"adversary": 5e-5}
    assert spact(objective="labels").optimizers == spact().optimizers


def test_thresholds_and_the_temperature_are_those_that_are_asked_for() -> None:
    asked: dict[str, Any] = {
        "until_pretrain": 0.02,
        "until_utility": 0.5,
        "until_adversary": 1.5,
        "until_blind": 0.9,
        "temperature": 0.2,
    }
    pretrain, warmup, adversarial = spact(preset="paper", **asked).phases
    assert pretrain.stop == (Stop(column="val_reconstruction", below=0.02),)
    assert warmup.stop == (
        Stop(column="train_utility", below=0.5),
        Stop(column="train_adversary", below=1.5),
    )
    (stop,) = adversarial.stop
    assert (stop.column, stop.above, stop.most, stop.times) == (
        "val_adversary_share",
        0.9,
        pytest.approx(1.1),
        3,
    )
    (one,) = spact(preset="paper", **asked).adversaries
    assert one.objective == NTXent(temperature=0.2)
    one_only = spact(until_utility=0.5).phases[1]
    assert {stop.column: stop.plateau for stop in one_only.stop} == {
        "train_utility": None,
        "train_adversary": 4,
    }
    assert spact(until_blind=0.9).phases[2].stop == adversarial.stop
    assert not spact().phases[2].stop
    line = "spact --preset paper --data x -o r --until-pretrain 0.02 --until-utility 0.5"
    line += " --until-adversary 1.5 --until-blind 0.9 --temperature 0.2"
    assert parse(line.split())[1].phases == spact(preset="paper", **asked).phases
    ended = ablate(recipe(phases=(replace(ADVERSARIAL, epochs=9),)), until_blind=1e-9)
    assert len(train_adversarially(ended, data(), device="cpu").history) == 3


def test_restarted_adversaries_catch_up() -> None:
    last = vita(preset="paper", restart=2).phases[-1]
    assert (last.restart, last.catch_up) == (2, 200)
    last = vita(preset="paper", restart=3, catch_up=5).phases[-1]
    assert (last.restart, last.catch_up) == (3, 5)


def test_a_ratio_is_that_of_every_other_network() -> None:
    """The adversary of vita's tiny recipe has two updates in a round, and had two ratios."""
    for made in (vita(ratio=3), vita(preset="paper", ratio=3), spact(ratio=3)):
        others = [one for one in made.phases[-1].updates if "anonymizer" not in one.learns]
        assert sum(one.times for one in others if "adversary" in one.learns) == 3
        assert {one.times for one in others} == {3}
    assert len(vita().phases[-1].updates) == 3
    reversed_ = recipe_function("bdq")(reversal=True, adversarial_loss="negative").phases[-1]
    assert len(reversed_.updates) == 1


@pytest.mark.parametrize(("name", "preset"), PRESETS)
def test_where_an_action_has_a_side_no_clip_is_mirrored(name: str, preset: str) -> None:
    plain = RECIPES[name](preset=preset)
    line = [name, "--preset", preset, "--no-mirror", "--data", "x", "-o", "r"]
    made = parse(line)[1]
    assert made.augment == replace(plain.augment, flip=0.0)
    assert plain.augment.flip == 0.5 or preset != "tiny"


@pytest.mark.parametrize(("name", "preset"), PRESETS)
def test_clips_with_a_stride_are_of_all_the_video(name: str, preset: str) -> None:
    """Under the tiny presets they were the first frames of each video alone."""
    made = RECIPES[name](preset=preset, stride=2)
    frames = clip_config(made).indices(0, 299)
    assert made.stride == 2 and frames.min() == 0 and frames.max() >= 298
    if preset != "tiny":
        assert made.windows == RECIPES[name](preset=preset).windows


def test_a_gate_keeps_the_action_first_and_a_reversal_is_one_update() -> None:
    plain, gated = vita(), vita(gate=0.7)
    (gate,) = [step for step in gated.phases[-1].updates if step not in plain.phases[-1].updates]
    assert (gate.until_accuracy, gate.learns) == (0.7, ("anonymizer", "utility"))
    assert gate.losses == {"utility": 1}
    assert vita(preset="paper", gate=0.7) == vita(preset="paper")
    (once,) = spact(reversal=True, omega=0.3).phases[-1].updates
    assert once.learns == ("anonymizer", "utility", "adversary") and once.reversal == 0.3
    assert once.losses == {"utility": 1.0, "adversary": 1.0}


@pytest.mark.parametrize(
    ("name", "preset", "given", "said"),
    [
        ("spact", "tiny", {"no_adversary": True, "queue": 7}, "leave out --queue"),
        ("spact", "tiny", {"no_adversary": True, "omega": 1.0}, "leave out --omega"),
        (
            "spact",
            "tiny",
            {"no_adversary": True, "until_adversary": 1.0},
            "leave out --until-adversary",
        ),
        ("spact", "tiny", {"frozen": True, "restart": 2}, "never learn again"),
        ("spact", "tiny", {"frozen": True, "until_blind": 0.9}, "leave out --until-blind"),
        ("bdq", "paper", {"frozen": True}, "know nothing"),
        ("bdq", "paper", {"until_utility": 0.1}, "leave out --until-utility"),
        ("spact", "tiny", {"gap": "far", "segments": True}, "runs of them"),
        ("vita", "tiny", {"gap": "far"}, "nt-xent or moco"),
        ("vita", "tiny", {"temperature": 0.2}, "--temperature is of pairs"),
        ("vita", "tiny", {"segments": True}, "--segments is of pairs"),
        ("vita", "tiny", {"catch_up": 9}, "give --restart EPOCHS"),
        ("vita", "tiny", {"restart": -1}, "--restart must be 1 or more"),
        ("vita", "tiny", {"epochs": 0}, "--epochs must be 1 or more"),
        ("vita", "tiny", {"batch": 1}, "--batch must be 2 or more"),
        ("vita", "tiny", {"omega": math.nan}, "--omega must be 0 or more"),
        ("vita", "tiny", {"action_weight": -1.0}, "--action-weight must be 0 or more"),
        ("vita", "tiny", {"gate": 1.2}, "--gate must be above 0 and at most 1"),
        ("spact", "tiny", {"until_pretrain": 0.0}, "--until-pretrain must be above 0"),
        ("spact", "tiny", {"until_blind": 0.0}, "--until-blind must be above 0"),
        ("spact", "tiny", {"until_blind": 3.0}, "at most 1"),
        ("spact", "tiny", {"temperature": math.inf}, "--temperature must be above 0"),
        ("spact", "tiny", {"reversal": True, "frozen": True}, "leave out --frozen"),
        ("spact", "tiny", {"reversal": True, "combine": "mean"}, "leave out --combine"),
        ("bdq", "tiny", {"reversal": True}, "entropy: give --adversarial-loss negative"),
        ("vita", "code", {"reversal": True}, "ones: give --adversarial-loss negative"),
        ("spact", "tiny", {"adversary": ()}, "--adversary names no network"),
        ("vita", "tiny", {"reversal": True, "adversarial_loss": "ones"}, "loss negative"),
        ("spact", "tiny", {"queue": 64}, "--objective moco"),
        ("spact", "tiny", {"adversarial_loss": "ones"}, "--objective labels"),
        ("spact", "tiny", {"objective": "x"}, "--objective must be one of labels, nt-xent"),
        ("spact", "tiny", {"utility": "r3d"}, "no network 'r3d'"),
        ("spact", "tiny", {"adversary": ("r3d",)}, "no network 'r3d'"),
        ("spact", "huge", {}, "no preset 'huge'; it has tiny, paper, code"),
        ("noise-features", "code", {}, "noise-features has no preset 'code'"),
    ],
)
def test_contradictions_are_refused(
    name: str, preset: str, given: dict[str, Any], said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        recipe_function(name)(preset=preset, **given)


def flags_of(name: str) -> set[str]:
    """The arguments of a recipe, those of its options too."""
    given = inspect.signature(RECIPES[name]).parameters
    (more,) = get_args(get_type_hints(RECIPES[name])["ablations"])
    return {*given, *get_type_hints(more)}


@pytest.mark.parametrize(
    ("name", "flags"),
    [
        (
            "noise-features",
            "omega no_adversary frozen gate until_blind adversary objective anonymizer_norms",
        ),
        ("bdq", "until_pretrain gap anonymizer_norms"),
        ("stprivacy", "until_pretrain until_utility until_adversary gap anonymizer_norms"),
    ],
)
def test_a_flag_that_makes_no_sense_for_a_recipe_is_not_in_its_signature(
    name: str, flags: str
) -> None:
    assert not set(flags.split()) & flags_of(name)
    assert set(flags.split()) <= flags_of("spact")


@pytest.mark.parametrize(("name", "preset"), PRESETS)
def test_every_recipe_names_what_there_is(name: str, preset: str) -> None:
    made = RECIPES[name](preset=preset)
    networks = {made.utility, *(one.network for one in made.adversaries)}
    assert networks <= set(RECOGNIZERS)
    assert made.phases[-1].adversarial or name == "noise-features"
    roles = {role for phase in made.phases for step in phase.updates for role in step.learns}
    adversaries = {"adversary"} if made.adversaries else set()
    auxiliary = {"auxiliary"} if name == "stprivacy" and preset != "tiny" else set()
    assert roles == {"anonymizer", "utility", *adversaries, *auxiliary}
    assert bool(adversaries) == (name != "noise-features")


def test_what_is_missing_is_said_plainly() -> None:
    with pytest.raises(UsageError, match="no recipe for 'blur'"):
        recipe_function("blur")
    with pytest.raises(UsageError, match="has none"):
        train_adversarially(recipe(), data(private={}), device="cpu")
    with pytest.raises(UsageError, match="no loss named ratio"):
        bad = UpdateStep(learns=("anonymizer",), losses={"ratio": 1.0})
        phases = (replace(ADVERSARIAL, updates=(bad,)),)
        train_adversarially(recipe(phases=phases), data(), device="cpu")
