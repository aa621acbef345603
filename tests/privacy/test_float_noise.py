"""The noise of gradients: what floating point makes of it is measured bit by bit, also in the tails.

The noise is a monotone function of 127 random bits on each side, so its distribution function is known
exactly: bisection over the integers finds how many of them give a number below a bound. Nothing is sampled,
so there are no false alarms.
"""

from __future__ import annotations

import mpmath
import numpy as np
import pytest
import torch
from scipy import stats
from scipy.special import ndtri
from torch import nn

from synthgen.dpsgd.clipped_gradients import ClippedSum
from synthgen.dpsgd.noisy_sum import NoisySum
from synthgen.privacy import float_noise
from synthgen.privacy.noise import NoiseSource

BITS = 127


def scripted(integers, negative):
    """Return a source of words that makes `gaussian` take these 127-bit integers."""
    first = np.array(
        [(int(i) >> 64) << 1 | int(s) for i, s in zip(integers, negative, strict=True)], np.uint64
    )
    last = np.array([int(i) & (2**64 - 1) for i in integers], np.uint64)
    given = [first, last[first >> np.uint64(1) < np.uint64(2**53)]]

    def words(size):
        found = given.pop(0)
        assert len(found) == size
        return found

    return words


def numbers_of(integers, negative):
    return float_noise.gaussian(scripted(integers, negative), len(integers))


def equally_spaced(integers, negative):
    """The sampler that this one replaced, of the 52 leading bits: the control."""
    del negative
    words = np.array([int(i) >> (BITS - 64) for i in integers], np.uint64)
    return ndtri(float_noise.uniforms(words))


def shares_below(sampler, bounds, negative, release):
    """Return the exact chance, on one side of 0, that what is released lies below each bound."""
    low = np.zeros(len(bounds), dtype=object)
    high = np.full(len(bounds), 2**BITS, dtype=object)
    for _ in range(BITS):
        middle = (low + high) // 2
        below = release(sampler(middle, np.full(len(bounds), negative))) < bounds
        if negative:  # numbers fall with the integers
            below = ~below
        low, high = np.where(below, middle + 1, low), np.where(below, high, middle)
    return [mpmath.mpf(int(x)) / 2**BITS for x in low]


def worst_factor(sampler, sums, cells, *, sigma=1.5, one_side=True):
    """Return the largest relative error of the chance of a released multiple of the spacing."""
    mpmath.mp.dps = 50
    spacing, worst = float_noise.spacing(sigma), 0.0
    for total in sums:
        start = np.round(total / spacing)
        multiples = start + np.asarray(cells, dtype=float)  # below the sum: one side only

        def release(z, total=total):
            return np.round((total + sigma * z) / spacing)

        chances = [shares_below(sampler, multiples + more, False, release) for more in (0, 1)]
        for m, below, next_ in zip(multiples, *chances, strict=True):
            ends = [(mpmath.mpf(float(m)) + side) * spacing for side in (-0.5, 0.5)]
            exact = mpmath.fsub(
                *[mpmath.ncdf((e - mpmath.mpf(float(total))) / sigma) for e in reversed(ends)]
            )
            found = (next_ - below) / (2 if one_side else 1)
            worst = max(worst, abs(float(found / exact - 1)))
    return worst


SUMS = [0.0, 0.1, -3.7, 1 / 3 * 64, 64 * 1.5 - 1e-9, 1.7e-14]
CELLS = [-3930, -3300, -2900, -2600, -2200, -1500, -800, -300, -100, -17, -2]  # of 2**-8: to 10.2 sigma


def test_a_released_multiple_has_its_exact_chance_within_two_to_the_minus_36():
    assert worst_factor(numbers_of, SUMS, CELLS) < 2.0**-36


def test_52_equally_spaced_bits_miss_it_in_the_tails_and_the_measure_sees_it():
    # Beyond 8.2 deviations they give nothing at all.
    assert worst_factor(equally_spaced, [0.1], [-3300], one_side=False) == 1.0
    assert worst_factor(equally_spaced, [0.1], [-2600], one_side=False) > 1e-4
    assert worst_factor(equally_spaced, [0.1], [-2200], one_side=False) > 1e-8


def widest_gap(sampler, integers, step):
    """Return the largest distance of neighbouring numbers at these integers."""
    here, there = (
        sampler(np.array([i + more for i, more in zip(integers, steps, strict=True)], dtype=object), neither)
        for neither in [np.zeros(len(integers), dtype=bool)]
        for steps in ([0] * len(integers), step)
    )
    return float(np.abs(there - here).max())


def test_gaps_between_numbers_are_below_two_to_the_minus_48_where_52_equal_cells_leave_float32_steps():
    significant = [2**bits for bits in range(55, BITS)]  # to 9.8 deviations
    assert widest_gap(numbers_of, significant, [max(1, i >> 52) for i in significant]) < 2.0**-48
    cell = 2 ** (BITS - 51)  # of the control: 52 bits of the whole line
    tail = [int(2**BITS * 2 * stats.norm.sf(6.4)) // 2]
    assert widest_gap(equally_spaced, tail, [cell]) > 6.4 * 2.0**-24  # a float32 step or more at 6.4
    ends = numbers_of(np.array([0, 2**BITS - 1], dtype=object), np.array([False, True]))
    assert ends[0] < -13.0
    assert abs(ends[1]) < 1e-15


@pytest.mark.parametrize("source", [NoiseSource.for_tests(0), NoiseSource.system()])
def test_the_noise_is_normal_and_a_wrong_scale_is_rejected(source):  # false alarms 1e-6
    drawn = source.gaussian(200_000, sigma=2.5)
    assert stats.kstest(drawn / 2.5, "norm").pvalue > 1e-6
    assert stats.kstest(drawn / 2.4, "norm").pvalue < 1e-6
    assert stats.kstest(drawn[:-1] * drawn[1:] / 6.25, lambda x: 0.5 + 0.5 * np.sign(x)).pvalue < 1e-6
    assert abs(np.corrcoef(drawn[:-1], drawn[1:])[0, 1]) < 5 / np.sqrt(drawn.size)
    assert abs(np.mean(drawn > 0) - 0.5) < 5 / (2 * np.sqrt(drawn.size))


def test_words_beyond_the_first_are_drawn_where_few_bits_are_significant():
    taken = []

    def words(size):
        taken.append(size)
        return np.full(size, 2**54 - 1 if len(taken) == 1 else 2**63, dtype=np.uint64)

    assert float_noise.gaussian(words, 3) == pytest.approx(-ndtri((2.0**53 - 0.5) * 2.0**-64))
    assert taken == [3, 3]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("sigma", [0.01, 1.0, 7.3])
def test_what_a_step_releases_are_multiples_of_the_public_spacing(sigma, dtype):
    parameter = nn.Parameter(torch.zeros(5000, dtype=dtype))
    sums = NoisySum({"p": parameter}, sigma=sigma, denominator=1.0, noise=NoiseSource.for_tests(0))
    given = torch.linspace(-1, 1, 5000, dtype=torch.float64) * 3 * sigma
    sums.add(ClippedSum({"p": given}, 1, 0, torch.zeros(1)))
    sums.release()
    in_spacings = parameter.grad.double() / float_noise.spacing(sigma)
    assert bool((in_spacings == in_spacings.round()).all())
    residual = (parameter.grad.double() - given).numpy() / sigma
    assert stats.kstest(residual, "norm").pvalue > 1e-3  # fixed seed
    assert stats.kstest(residual / 1.2, "norm").pvalue < 1e-3
