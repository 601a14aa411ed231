"""Bends a detector's scores so that one threshold means the same whatever the network."""

from __future__ import annotations

import math

DEFAULT_SCORE = 0.5
"""Scores are bent so that this one gives as good as the best F1 on the validation areas, whatever the network."""


MARGIN = 0.002
"""Taken off the best score, so that rounding does not lose the very building that has it."""


def score_exponent(best_score: float) -> float:
    """The power that takes the best raw score to `DEFAULT_SCORE`; extreme scores are bounded."""
    return math.log(DEFAULT_SCORE) / math.log(min(max(best_score - MARGIN, 0.02), 0.98))


def raw_score(exponent: float, score: float = DEFAULT_SCORE) -> float:
    """The network's own score behind a bent one."""
    return score ** (1 / exponent)
