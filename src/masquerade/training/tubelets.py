"""STPrivacy's recipes of training, as values (ICCV 2023, 4.3; FACTS 1.9, 1.10 and 8.1)."""

from __future__ import annotations

from dataclasses import replace

from masquerade.datasets.augmentation import NONE
from masquerade.training.game import Adversary, Game, Optim, Phase, Turn
from masquerade.training.objectives import Labels
from masquerade.training.phases import BOTH, LIGHT, TINY_STEPS, TINY_WIDTHS, against, every


def stprivacy_paper() -> Game:
    """STPrivacy (ICCV 2023, 4.3): 80 epochs to begin with, 40 against the recognizers.

    The recognizers begin on raw video, the anonymizer by a class token (the preprint's eq. 12). The
    negated loss is capped, since eq. 13 has no bottom.
    """
    how = Optim(kind="adamw", lr=6.25e-5, decay=0.05, cosine=True)
    return Game(
        method="stprivacy",
        arguments={"strict": False, "out": "linear"},
        utility="vit-s-video",
        adversaries=(Adversary(network="vit-s-video", objective=Labels()),),
        phases=(
            Phase(name="recognizers", epochs=80, turns=(replace(BOTH, raw=True),)),
            Phase(
                name="initialise",
                epochs=80,
                turns=(
                    Turn(
                        learns=("anonymizer", "auxiliary"), terms={"auxiliary": 1.0, "ratio": 1.0}
                    ),
                ),
            ),
            Phase(
                name="contest",
                epochs=40,
                turns=(against(0.5, keep=0.5, ratio=1.0), BOTH),
                same_batch=True,
            ),
        ),
        optims=every(how),
        size=(112, 112),
        stride=2,
        batch=32,
        augment=NONE,
        wanted={"kept_3": (0.343, 0.05)},
    )


def stprivacy_code() -> Game:
    """With the attention of STPrivacy's code, through which dropped tokens leak (FACTS 1.5)."""
    own = {"strict": False, "out": "linear", "softmax": "dynamicvit"}
    return replace(stprivacy_paper(), arguments=own)


def stprivacy_tiny() -> Game:
    """STPrivacy small enough for two cores: the recognizers are small CNNs (FACTS 8.5).

    It begins by rewriting what it keeps as it was, since nobody reads an action from random pixels.
    Against the adversary it steps more slowly and holds its share more firmly: at the others' rate
    one seed in two dropped all, which fools everybody.
    """
    still = {"rebuilt": 1.0, "ratio": 4.0}
    rewrite = Turn(learns=("anonymizer",), terms=still)
    learn = Turn(learns=("anonymizer", "utility"), terms={"utility": 1.0, **still})
    how = Optim(kind="adamw", lr=1e-3, decay=0.05, warmup=2, cosine=True, clip=1.0)
    return Game(
        method="stprivacy",
        arguments={
            "frames": 8,
            "picture": (32, 32),
            "tubelet": (4, 4, 4),
            "width": 96,
            "heads": 3,
            "depth": 4,
            "places": (1, 2, 3),
        },
        utility="tiny-3d",
        utility_look="both",
        widths=TINY_WIDTHS,
        grouped=True,
        adversaries=(Adversary(network="tiny-3d", objective=Labels()),),
        phases=(
            Phase(
                name="rewrite",
                epochs=6,
                turns=(rewrite,),
                optims={"anonymizer": replace(how, lr=2e-3)},
                begins=True,
            ),
            Phase(name="recognizers", epochs=8, turns=(replace(BOTH, raw=True),)),
            Phase(
                name="initialise",
                epochs=12,
                turns=(learn, Turn(learns=("adversary",), terms={"adversary": 1.0})),
                same_batch=True,
            ),
            Phase(
                name="contest",
                epochs=14,
                turns=(against(1.0, ratio=8.0), BOTH),
                same_batch=True,
                optims={"anonymizer": replace(how, lr=3e-4)},
            ),
        ),
        optims=every(how),
        frames=8,
        size=(32, 32),
        batch=16,
        steps=TINY_STEPS,
        augment=LIGHT,
        wanted={"kept_3": (0.343, 0.1)},
    )
