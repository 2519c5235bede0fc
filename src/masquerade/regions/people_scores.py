"""Turns scores of the detectors of people into probabilities that somebody is there.

A network's score is no probability: of boxes with a score of .4 most are people. The curves are
fitted on labelled frames by `benchmarks/people_calibration.py`, which shows how well they hold on
other frames.
"""

from math import exp, log

KINDS: dict[str, tuple[float, float]] = {  # slope and offset over the log odds of a score
    "pose": (0.15, 2.74),  # of the landmark network
    "box": (2.11, 2.01),  # of the detector of boxes
}
EDGE = 1e-3  # a score is never nearer to 0 or 1
UNSURE = 0.5  # probability below which a detection is of low confidence


def log_odds(score: float) -> float:
    """The logarithm of score / (1 - score)."""
    inside = min(max(score, EDGE), 1 - EDGE)
    return log(inside / (1 - inside))


def probability(score: float, kind: str) -> float:
    """The probability that somebody is where a network of a kind gave a score."""
    slope, offset = KINDS[kind]
    return 1 / (1 + exp(-(slope * log_odds(score) + offset)))
