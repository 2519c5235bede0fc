"""What an anonymizer keeps and what it leaks: protocols, attackers, controls, results."""

from masquerade.evaluation.attackers import ATTACKERS
from masquerade.evaluation.config import Entry, Plan
from masquerade.evaluation.results import Evaluation, from_json
from masquerade.evaluation.table import evaluate

__all__ = ["ATTACKERS", "Entry", "Evaluation", "Plan", "evaluate", "from_json"]
