"""The published recipes of adversarial training, as values: GAMES, one table.

`paper` is what the paper says, `code` what its code does where it differs, `tiny` what learns in
minutes on two cores. Numbers are those of FACTS 1.10, 2.3, 2.4, 4, 8.1, 8.2 and 8.4; thresholds
that no paper gives are ours (FACTS 6, #20).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from masquerade.datasets.augmentation import NONE, SPACT
from masquerade.errors import UsageError
from masquerade.training.game import Adversary, Game, Optim, Phase, Stop, Turn
from masquerade.training.objectives import Labels, NTXent
from masquerade.training.phases import (
    BOTH,
    LIGHT,
    PRACTICE,
    TINY_STEPS,
    TINY_WIDTHS,
    against,
    every,
    identity,
)
from masquerade.training.tubelets import stprivacy_code, stprivacy_paper, stprivacy_tiny

SPACT_A0 = 0.01  # mean L1 at which the identity is learned
SPACT_BMAX = 0.95  # of the loss of an adversary that sees nothing
STORED = 32  # frames of a video in memory, of which a clip is any 16 in a row
SIDE = (24, 32)  # rows and columns of clips under `tiny`

BDQ_TURNS = (
    Turn(learns=("anonymizer", "utility"), terms={"utility": 1.0, "fooling": 2.0}),
    Turn(learns=("adversary",), terms={"adversary": 1.0}),
)

NOISY = Turn(learns=("anonymizer", "utility"), terms={"utility": 1.0, "reconstruction": 1.0})


def spact_paper(*, omega: float = 0.5) -> Game:
    """SPAct (CVPR 2022, 3.3): identity, practice, then step by step on alternating batches.

    Args:
        omega: weight of the adversary; the paper says only that it lies between 0 and 1.
    """
    once = Optim(kind="adam", lr=1e-3, warmup=5)
    return Game(
        method="spact",
        arguments={"width": 64, "short": 112},
        utility="r3d-18-spact",
        adversaries=(Adversary(network="resnet-50", objective=NTXent()),),
        phases=(
            identity(SPACT_A0, 80, {"anonymizer": once}),
            Phase(
                name="practice",
                epochs=150,
                turns=(BOTH,),
                stop=PRACTICE,
                optims={"utility": once, "adversary": once},
            ),
            Phase(
                name="contest",
                epochs=300,
                turns=(against(omega), BOTH),
                stop=(Stop(column="val_adversary_share", above=SPACT_BMAX),),
            ),
        ),
        optims=every(Optim(kind="adam", lr=1e-4)),
        size=(112, 112),
        stride=2,
        stored=STORED,
        padding="palindrome",
        batch=24,
        stills=64,
        augment=SPACT,
    )


def spact_code() -> Game:
    """SPAct's code, where omega is 1."""
    return spact_paper(omega=1.0)


def spact_tiny() -> Game:
    """SPAct small enough for two cores.

    Its contest plays every epoch: where ten clips are held out, one blind epoch is chance.
    """
    return Game(
        method="spact",
        arguments={"width": 8, "short": 24},
        utility="tiny-3d",
        utility_look="both",
        widths=TINY_WIDTHS,
        grouped=True,
        adversaries=(Adversary(network="tiny-2d", objective=NTXent(width=32)),),
        phases=(
            identity(0.05, 20),
            Phase(name="practice", epochs=12, turns=(BOTH,), stop=PRACTICE),
            Phase(name="contest", epochs=20, turns=(against(0.5), BOTH)),
        ),
        optims=every(Optim(kind="adam", lr=1e-3, clip=1.0)),
        frames=8,
        size=SIDE,
        batch=16,
        steps=TINY_STEPS,
        augment=LIGHT,
    )


def vita_paper() -> Game:
    """VITA (TPAMI 2020): labelled adversaries, five steps of theirs to one of the anonymizer.

    Its reconstruction is learned by L1, since the perceptual loss of its code needs VGG's weights.
    """
    seventy = Turn(learns=("anonymizer", "utility"), terms={"utility": 1.0}, times=8, until=0.7)
    return Game(
        method="vita",
        arguments={"widths": (32, 64, 128), "blocks": 5, "short": 112},
        utility="r3d-18",
        adversaries=(Adversary(network="mobilenet-v2", objective=Labels()),),
        phases=(
            identity(0.03, 40),
            Phase(
                name="practice",
                epochs=80,
                turns=(
                    Turn(learns=("anonymizer", "utility"), terms={"utility": 1.0}),
                    Turn(learns=("adversary",), terms={"adversary": 1.0}),
                ),
                same_batch=True,
                stop=PRACTICE,
            ),
            Phase(
                name="contest",
                epochs=100,
                turns=(
                    against(0.5),
                    seventy,
                    Turn(learns=("adversary",), terms={"adversary": 1.0}, times=5),
                ),
            ),
        ),
        optims={
            "anonymizer": Optim(lr=1e-4),
            "utility": Optim(lr=1e-5),
            "adversary": Optim(lr=1e-4),
        },
        size=(112, 112),
        stride=2,
        stored=STORED,
        padding="palindrome",
        batch=16,
        augment=NONE,
    )


def vita_code() -> Game:
    """VITA's code: the anonymizer wants every attribute to be called present."""
    game = vita_paper()
    rivals = tuple(replace(one, objective=Labels(fool="ones")) for one in game.adversaries)
    return replace(game, adversaries=rivals)


def vita_tiny() -> Game:
    """VITA small enough for two cores: one step of the anonymizer and utility, two to see it."""
    alone = Turn(learns=("adversary",), terms={"adversary": 1.0})
    return Game(
        method="vita",
        arguments={"widths": (8, 16, 32), "blocks": 2, "short": 24},
        utility="tiny-3d",
        utility_look="both",
        widths=TINY_WIDTHS,
        grouped=True,
        adversaries=(Adversary(network="tiny-2d", objective=Labels()),),
        phases=(
            identity(0.06, 20),
            Phase(name="practice", epochs=12, turns=(BOTH,), stop=PRACTICE),
            Phase(
                name="contest",
                epochs=20,
                turns=(against(0.5), replace(BOTH, times=1), alone),
                same_batch=True,
            ),
        ),
        optims=every(Optim(kind="adam", lr=1e-3, clip=1.0)),
        frames=8,
        size=SIDE,
        batch=16,
        steps=TINY_STEPS,
        augment=LIGHT,
    )


def bdq_paper() -> Game:
    """BDQ (ECCV 2022): the encoder and the target step together, then the adversary, on each batch.

    The anonymizer wants the answers' entropy, twice as much as the action.
    """
    how = Optim(kind="sgd", lr=0.01, momentum=0.9, decay=1e-5, cosine=True)
    return Game(
        method="bdq",
        arguments={"sigma": 3.0, "bits": 4, "slope": 5.0, "short": 224},
        utility="i3d-r50",
        adversaries=(Adversary(network="resnet-50", objective=Labels(fool="entropy")),),
        phases=(Phase(name="contest", epochs=100, turns=BDQ_TURNS, same_batch=True),),
        optims=every(how),
        size=(224, 224),
        stride=2,
        batch=256,
        augment=NONE,
    )


def bdq_code() -> Game:
    """BDQ's code, which publishes what its soft quantiser lets through."""
    game = bdq_paper()
    return replace(game, arguments={**game.arguments, "soft": True})


def bdq_tiny() -> Game:
    """BDQ small enough for two cores; the action is learned before the adversary counts.

    Ten epochs of contest end before the adversary sees anything, the limits still where they began.
    """
    return Game(
        method="bdq",
        arguments={"sigma": 1.0, "short": 24},
        utility="tiny-3d",
        widths=TINY_WIDTHS,
        grouped=True,
        adversaries=(Adversary(network="tiny-2d", objective=Labels(fool="entropy")),),
        phases=(
            Phase(name="practice", epochs=12, turns=(BOTH,), stop=PRACTICE),
            Phase(name="contest", epochs=60, turns=BDQ_TURNS, same_batch=True),
        ),
        optims=every(Optim(kind="adam", lr=1e-3, clip=1.0))
        | {"anonymizer": Optim(kind="sgd", lr=0.01, momentum=0.9)},
        frames=8,
        size=SIDE,
        batch=16,
        steps=TINY_STEPS,
        augment=LIGHT,
    )


def noise_features_paper() -> Game:
    """Our reading of Collective (FACTS 4): the action's loss and L1, and nobody to play against."""
    return Game(
        method="noise-features",
        arguments={"noise": 0.5, "width": 64, "short": 112},
        utility="r3d-18",
        adversaries=(),
        phases=(Phase(name="together", epochs=150, turns=(NOISY,), stop=PRACTICE[:1]),),
        optims=every(Optim(kind="adam", lr=1e-4)),
        size=(112, 112),
        stride=2,
        stored=STORED,
        padding="palindrome",
        batch=24,
        augment=SPACT,
    )


def noise_features_tiny() -> Game:
    """The same, small enough for two cores."""
    return replace(
        noise_features_paper(),
        arguments={"noise": 0.5, "width": 8, "halvings": 2, "short": 24},
        utility="tiny-3d",
        utility_look="both",
        widths=TINY_WIDTHS,
        grouped=True,
        phases=(Phase(name="together", epochs=20, turns=(NOISY,), stop=PRACTICE[:1]),),
        optims=every(Optim(kind="adam", lr=1e-3, clip=1.0)),
        frames=8,
        size=SIDE,
        stride=None,
        stored=None,
        padding="repeat",
        batch=16,
        steps=TINY_STEPS,
        augment=LIGHT,
    )


GAMES: dict[str, dict[str, Callable[[], Game]]] = {
    "spact": {"tiny": spact_tiny, "paper": spact_paper, "code": spact_code},
    "vita": {"tiny": vita_tiny, "paper": vita_paper, "code": vita_code},
    "bdq": {"tiny": bdq_tiny, "paper": bdq_paper, "code": bdq_code},
    "noise-features": {"tiny": noise_features_tiny, "paper": noise_features_paper},
    "stprivacy": {"tiny": stprivacy_tiny, "paper": stprivacy_paper, "code": stprivacy_code},
}
"""By method and preset; a new recipe is a function and a line."""


def game_of(name: str, preset: str) -> Game:
    """A recipe by its method and preset.

    Args:
        name: in GAMES.
        preset: of it.
    """
    if name not in GAMES:
        raise UsageError(f"there is no recipe for {name!r}; choose one of {', '.join(GAMES)}.")
    if preset not in GAMES[name]:
        raise UsageError(f"{name} has no preset {preset!r}; it has {', '.join(GAMES[name])}.")
    return GAMES[name][preset]()
