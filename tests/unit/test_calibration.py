"""One threshold means the same for every network."""

from __future__ import annotations

import pytest
from cadastral_vectorizer.engine.calibration import DEFAULT_SCORE, raw_score, score_exponent


@pytest.mark.parametrize("best", [0.05, 0.3048, 0.5, 0.9])
def test_the_best_score_becomes_the_default_one_and_stays_above_it(best):
    exponent = round(score_exponent(best), 4)
    assert DEFAULT_SCORE <= best**exponent < DEFAULT_SCORE + 0.02
    assert raw_score(exponent) == pytest.approx(best, abs=0.003)


@pytest.mark.parametrize("best", [0.0, 1.0])
def test_extreme_scores_leave_a_usable_exponent(best):
    assert 0.1 < score_exponent(best) < 40
