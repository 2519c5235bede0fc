"""Attack published videos as an auditor would: look again, try to undo, read what is beside."""

from masquerade.attack.finding import AttackReport, Finding, Proof, VideoAttack
from masquerade.attack.run import ATTACKS, AttackConfig, attack_files

__all__ = [
    "ATTACKS",
    "AttackConfig",
    "AttackReport",
    "Finding",
    "Proof",
    "VideoAttack",
    "attack_files",
]
