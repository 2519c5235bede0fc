"""How much an anonymizer keeps and leaks: protocols, attackers, predictions, scoring, results."""

from masquerade.evaluation.attackers import ATTACKERS
from masquerade.evaluation.config import EvaluatedMethod, EvaluationConfig
from masquerade.evaluation.evaluator import evaluate
from masquerade.evaluation.results import Evaluation, from_json

__all__ = [
    "ATTACKERS",
    "EvaluatedMethod",
    "Evaluation",
    "EvaluationConfig",
    "evaluate",
    "from_json",
]
