"""How sure a number is."""

from __future__ import annotations

import numpy as np
import pytest

from difflens_widgets.analysis.intervals import mean_interval, median_interval, wilson


@pytest.mark.parametrize(("right", "n"), [(0, 10), (5, 10), (10, 10), (160, 200)])
def test_wilson_holds_the_share(right, n) -> None:
    low, high = wilson(right, n)
    assert 0 <= low <= right / n <= high <= 1
    assert high - low < 0.6


def test_wilson_is_the_published_formula() -> None:
    low, high = wilson(81, 263)  # Newcombe 1998, table I: 0.2553 to 0.3662
    assert (round(low, 4), round(high, 4)) == (0.2553, 0.3662)
    assert wilson(0, 0) == (0.0, 1.0)
    assert np.diff(wilson(81, 263, z=2.576)) > high - low


def test_the_median_needs_only_the_order() -> None:
    values = np.array([[3.0, 5.0, np.inf]] * 10)
    assert median_interval(values) == (5, 5, 5)  # all prompts alike: nothing to be unsure of
    never = median_interval(np.full((4, 3), np.inf))
    assert never == (np.inf, np.inf, np.inf)


def test_the_interval_is_that_of_the_binomial_for_single_draws() -> None:
    """The bootstrap median of n distinct values has the ranks of Efron's closed form, here counted exactly."""
    n = 15
    values = np.arange(n, dtype=float)[:, None]
    # P(median's rank ≤ k) = P(Binomial(n, (k + 1) / n) > n / 2)
    from math import comb

    def cumulative(k: int) -> float:
        p = (k + 1) / n
        return sum(comb(n, i) * p**i * (1 - p) ** (n - i) for i in range(n // 2 + 1, n + 1))

    low = next(k for k in range(n) if cumulative(k) >= 0.025)
    high = next(k for k in range(n) if cumulative(k) >= 0.975)
    found = median_interval(values)
    assert found.value == 7
    assert abs(found.low - low) <= 1
    assert abs(found.high - high) <= 1


def test_prompts_are_drawn_as_a_whole() -> None:
    """Seeds that agree with their prompt are no new evidence: the interval is that of the prompts alone."""
    rng = np.random.default_rng(1)
    prompts = rng.integers(0, 13, (12, 1)).astype(float)
    repeated = median_interval(np.repeat(prompts, 8, axis=1))
    assert repeated == median_interval(prompts)
    independent = median_interval(rng.permutation(np.repeat(prompts, 8)).reshape(-1, 1))
    assert independent.high - independent.low < repeated.high - repeated.low


def test_the_seed_draws_others() -> None:
    values = np.random.default_rng(0).normal(size=(9, 1)).cumsum(0)
    assert median_interval(values, seed=1) == median_interval(values, seed=1)
    assert len({median_interval(values, seed=seed) for seed in range(20)}) > 1


@pytest.mark.parametrize("values", [np.zeros((0, 3)), np.zeros(3)], ids=str)
def test_no_values_have_no_median(values) -> None:
    with pytest.raises(ValueError, match=r"values: expected \(prompts, seeds\)"):
        median_interval(values)


def test_the_mean_has_students_interval() -> None:
    """Box, Hunter & Hunter: the shoes' ten differences, mean 0.41, standard error 0.12, 9 degrees of freedom."""
    differences = [0.8, 0.6, 0.3, -0.1, 1.1, -0.2, 0.3, 0.5, 0.5, 0.3]
    value, low, high = mean_interval(differences)
    assert (round(float(value), 2), round(float(low), 3), round(float(high), 3)) == (0.41, 0.133, 0.687)


@pytest.mark.parametrize("n", [2, 3, 10, 31, 60])
def test_it_holds_the_mean_of_normal_values_95_times_of_100(n) -> None:
    _, low, high = mean_interval(np.random.default_rng(n).normal(1.0, 3.0, (n, 20_000)))
    assert abs(np.mean((low <= 1) & (high >= 1)) - 0.95) < 0.006  # 4 standard errors


def test_one_value_has_no_interval() -> None:
    value, low, high = mean_interval([[1.0, 2.0]])
    assert value.tolist() == [1, 2]
    assert np.isnan([low, high]).all()
    for nothing in ([], np.zeros((0, 3)), 1.0):
        with pytest.raises(ValueError, match="at least one row"):
            mean_interval(nothing)
