"""Attack published videos as an auditor would: look again, try to undo, read what is beside."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from masquerade.attack.config import AttackConfig

if TYPE_CHECKING:
    from masquerade.attack.finding import AttackReport, Finding, Proof, VideoAttack
    from masquerade.attack.run import ATTACKS, attack_files

__all__ = [
    "ATTACKS",
    "AttackConfig",
    "AttackReport",
    "Finding",
    "Proof",
    "VideoAttack",
    "attack_files",
]


def __getattr__(name: str) -> Any:
    """Import what imports torch when it is first used: the command's help does not."""
    if name not in __all__:
        raise AttributeError(f"module 'masquerade.attack' has no attribute {name!r}")
    home = "run" if name in ("ATTACKS", "attack_files") else "finding"
    return getattr(import_module(f"masquerade.attack.{home}"), name)
