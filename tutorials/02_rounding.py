# %% [markdown]
# # Rounding
#
# *Needs [01 what is a number?](01_what_is_a_number.ipynb).
# Next: [03 arithmetic](03_arithmetic.ipynb).*
#
# Most numbers are not in the format.  **Claim: which neighbour they become matters as much as the
# format does, and a rounding that is wrong in a tiny way can be wrong in a large one.**

# %%
import numpy as np

import refimpl as rf

fmt = rf.format("float8_e4m3fn")  # after 1 comes 1.125
modes = ("ties_to_even", "ties_to_away", "toward_zero", "toward_positive", "toward_negative", "to_odd")
for x in (1.03, 1.0625, -1.0625):
    print(f"{x:>8}", {mode: float(rf.quantize([x], fmt, rounding=mode)[0]) for mode in modes})
rf.plots.rounding_modes("float4_e2m1fn")

# %% [markdown]
# `1.0625` lies exactly between 1 and 1.125: a *tie*.  Ties to even take the neighbour whose last bit
# is 0, so that ties go up as often as down.  **Rounding ties away from zero drifts.**

# %%
ties = np.arange(1, 2, 0.125) + 0.0625  # every tie between 1 and 2
drift = {mode: float(np.mean(rf.quantize(ties, fmt, rounding=mode) - ties)) for mode in modes[:2]}
print("mean error over the ties:", drift)
assert drift["ties_to_even"] == 0 and drift["ties_to_away"] == 0.0625

# %% [markdown]
# **Rounding to nearest can forget everything.**  Add 0.001 to 1 a thousand times in bfloat16, rounding
# after each addition: every update is less than half a step, so nothing ever happens.


# %%
def add_up(rounding, seed=None):
    """Add 0.001 a thousand times."""
    total = np.float32(1)
    update = np.float32(rf.quantize([0.001], "bfloat16")[0])
    for step in range(1000):
        total = rf.quantize([total + update], "bfloat16", rounding=rounding, seed=seed, stream=step)[0]
    return float(total)


print("to nearest:", add_up("ties_to_even"))
assert add_up("ties_to_even") == 1.0

# %% [markdown]
# **Stochastic rounding remembers on average.**  It goes up with the probability that the distance
# suggests: 1.001 is an eighth of the way to the next value, so it goes there one time in eight.

# %%
totals = [add_up("stochastic", seed) for seed in range(20)]
print(f"stochastic: mean {np.mean(totals):.3f}, standard deviation {np.std(totals):.3f}")
assert abs(np.mean(totals) - 2.0) < 4 * np.std(totals) / np.sqrt(20)

# %% [markdown]
# The noise is not a matter of luck.  Element i of a call takes word i of a generator that is keyed
# by seed and stream: **the same seed gives the same bits, in any order, on any number of threads.**

# %%
x = np.random.default_rng(0).standard_normal(100_000).astype(np.float32)
whole = rf.quantize(x, fmt, rounding="stochastic", seed=7)
again = rf.quantize(x, fmt, rounding="stochastic", seed=7)
assert np.array_equal(whole, again)
print("mean error of 100,000 stochastic roundings:", float(np.mean(whole - x)))

# %% [markdown]
# **Rounding twice is wrong.**  1 + 2^-4 + 2^-30 is just above the tie 1.0625, so it belongs to 1.125.
# Round it to float32 first, as many libraries do with float64 input, and the 2^-30 is lost: now it
# *is* a tie, and goes to 1.

# %%
x = 1 + 2.0**-4 + 2.0**-30
once, twice = rf.quantize([x], fmt)[0], rf.quantize([np.float64(np.float32(x))], fmt)[0]
print("once:", once, " twice:", twice)
assert (once, twice) == (1.125, 1.0)

# %% [markdown]
# **Rounding to odd makes it right again.**  If the first rounding marks inexact results by an odd last
# bit, no tie can appear that was not there, and the second rounding is as if it were the only one
# (given two bits to spare).

# %%
wide = rf.FloatFormat(exponent_bits=8, mantissa_bits=5)  # two bits more than E4M3
x = np.random.default_rng(1).uniform(0.5, 2, 100_000)
direct = rf.quantize(x, fmt)
through_odd = rf.quantize(rf.quantize(x, wide, rounding="to_odd"), fmt)
through_even = rf.quantize(rf.quantize(x, wide), fmt)
print(
    "different from rounding once: through odd",
    int(np.sum(through_odd != direct)),
    " through nearest",
    int(np.sum(through_even != direct)),
)
assert np.array_equal(through_odd, direct) and not np.array_equal(through_even, direct)

# %% [markdown]
# **Beyond the largest value, the format's designers disagreed.**  OCP's E4M3 has no infinity: overflow
# gives NaN unless asked to saturate.  E5M2 has one.

# %%
for name in ("float8_e4m3fn", "float8_e5m2"):
    given = np.array([1e6, np.inf])
    for rule in ("overflow", "saturate", "propagate"):
        print(f"{name:<14} {rule:<10}", rf.quantize(given, name, overflow=rule))
assert np.isnan(rf.quantize([1e6], "float8_e4m3fn"))[0]
assert rf.quantize([464.0, 464.1], "float8_e4m3fn", overflow="overflow")[0] == 448  # the tie is still in

# %% [markdown]
# ## Exercises
#
# 1. Between 16 and 32, E4M3 holds the even numbers.  Write down what the six modes make of 17 and of -17; then ask.
# 2. Which is the smallest update that moves a 1 in bfloat16, rounded to nearest?  The next value after 1 is 1 + 2^-7.
# 3. Random bits cost hardware.  `rounding="stochastic_a"` takes `random_bits=`: the mean of many roundings of 1.001 in
#    bfloat16 should be 1.001.  What is it with 2 random bits, and with 8?  Why?

# %% [markdown]
# ## Solutions
#
# **1.** 17 is a tie of 16 and 18.  The even one is 16 (its last mantissa bit is 0), the odd one 18.

# %%
found = {mode: rf.quantize([17.0, -17.0], fmt, rounding=mode).tolist() for mode in modes}
print(found)
assert found == {
    "ties_to_even": [16, -16],
    "ties_to_away": [18, -18],
    "toward_zero": [16, -16],
    "toward_positive": [18, -16],
    "toward_negative": [16, -18],
    "to_odd": [18, -18],
}

# %% [markdown]
# **2.** Half a step, 2^-8, is a tie and goes to 1, which is even.  Anything above it moves.

# %%
half = 2.0**-8
moved = rf.quantize([1 + half, 1 + half + 2.0**-40], "bfloat16")
print(moved)
assert moved.tolist() == [1, 1 + 2.0**-7]

# %% [markdown]
# **3.** 1.001 is 0.128 of a step above 1.  Two random bits know only quarters of a step, and cut 0.128 down to none of
# them: **it never goes up, and the sum stands still again.**  Eight bits know 256ths.

# %%
x = np.full(100_000, 1.001)
for bits in (2, 8):
    up = rf.quantize(x, "bfloat16", rounding="stochastic_a", random_bits=bits, seed=0) - 1
    print(f"{bits} random bits: mean {1 + up.mean():.6f}")
    assert (up.mean() == 0) if bits == 2 else (abs(up.mean() - 0.001) < 0.0001)

# %% [markdown]
# **Next:** [03 arithmetic](03_arithmetic.ipynb), adding and multiplying, rounded once.
