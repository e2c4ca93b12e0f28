# %% [markdown]
# # Correct rounding of functions
#
# *Needs [03 arithmetic](03_arithmetic.ipynb).
# Next: [00 which precision should I buy?](00_which_precision_to_buy.ipynb).*
#
# A sum has finitely many digits: compute them all, and round.  e^x has no last digit.  **Claim: that a
# function can be rounded correctly is not a matter of course but a fact about numbers, and in sixteen bits we can
# see all of it: how near the values of exp come to a boundary of rounding, and so how many digits it takes.**

# %%
import math
from fractions import Fraction

import numpy as np

import refimpl as rf
from refimpl.plots.canvas import panels
from refimpl.spec import float_codes
from refimpl.spec.functions import exactly, exp

half = rf.format("float16")
print("e in float16:", rf.exp(1.0, half), " in E4M3:", rf.exp(1.0, "float8_e4m3fn"))
assert rf.exp(1.0, half) == 2.71875 and rf.exp(1.0, "float8_e4m3fn") == 2.75

# %% [markdown]
# ## The table-maker's dilemma
#
# Rounding to nearest has its boundaries half way between two values.  A result known as 1.0625 +- 0.001 in E4M3
# could become 1 or 1.125: the maker of a table computes one more digit, and may get 1.06250 +- 0.00001, and so on.
# **How near to a boundary does a result come?**  Float16 has few enough values that we can try every one.


# %%
def distance(x):
    """Return how far e^x lies from the nearest boundary, in steps of float16 at e^x: 0 to 1/2."""
    value = exp(exactly(Fraction(x))).magnitude  # to 192 bits
    step = Fraction(2) ** (max(float_codes.floor_log2(value), half.min_exponent) - half.mantissa_bits)
    return float(abs((value / step) % 1 - Fraction(1, 2)))


x = rf.values(half)
x = x[(abs(x) > 2.0**-11) & (x > -9.7) & (x < 11)]  # where the result is a number of float16, and not 1
distances = np.array([distance(v) for v in x.tolist()])
nearest = x[np.argmin(distances)]
print(f"{x.size} values; the nearest to a boundary is exp({nearest}), by {distances.min():.2g} of a step")
bits = math.ceil(-math.log2(distances.min())) + half.mantissa_bits + 1
print(f"so {bits} bits decide them all")
assert 1e-6 < distances.min() < 1e-3 and bits > 24

# %% [markdown]
# **In one picture**: distances of e^x from the nearest boundary, smallest first.  A straight line is what chance
# would give.

# %%
(ax,) = panels(1, 1, size=(5.6, 3.8))
ranks = (np.arange(distances.size) + 1) / distances.size
ax.loglog(ranks, np.sort(distances), ".", markersize=3, label="exp in float16")
ax.loglog(ranks, ranks / 2, "--", color="0.5", label="chance")
ax.set(xlabel="share of the values", ylabel="distance from a boundary, in steps", title="how near is the nearest?")
ax.legend(fontsize=8)
ax.figure

# %% [markdown]
# n values of fractions that look random come within 1 / (2 n) of a boundary: to round 2^p values takes about 2 p
# bits, and some more for bad luck.  Float32 is not enough for float16, float64 is, and this is known because all
# values were tried.  For float64 itself nobody can try them all; the worst cases of exp took years to find.
#
# ## A naive way, caught
#
# Compute in float64, round to float32, and again to float16, as many libraries do.

# %%
every = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
right = rf.exp(every, half)
with np.errstate(all="ignore"):
    twice = np.exp(every.astype(np.float64)).astype(np.float32).astype(np.float16)
wrong = every[(twice != right) & ~np.isnan(right)]
print("rounded twice, wrong at", wrong.tolist())
assert 0 < wrong.size < 40

# %% [markdown]
# **A float64 is no better where the direction counts.**  exp(-2^-24) lies below 1 by 2^-24, and tanh(20) below 1 by
# 10^-17, which float64 takes for 1.  Rounding toward zero has to say what is below 1.

# %%
naive = rf.quantize(np.tanh(20.0), half, rounding="toward_zero")
print("tanh(20) toward zero: naive", naive, " correct", rf.tanh(20.0, half, rounding="toward_zero"))
assert naive == 1.0 and rf.tanh(20.0, half, rounding="toward_zero") == 1 - 2.0**-11

# %% [markdown]
# ## How it is done
#
# Ziv's loop: compute an interval that surely contains the result; round both ends; if they agree, that is it, else
# take more digits.  **It ends unless the result is itself a boundary**, and there the interval never shrinks to one
# side.  So one has to know where results are exact: e^x only at 0 (Lindemann), 2^x only at integers, log2 only at
# powers of two, sin(pi x) only at multiples of 1/2.

# %%
whole = np.arange(-10.0, 11.0)
for rounding in ("toward_negative", "toward_positive", "to_odd"):
    assert np.array_equal(rf.exp2(whole, half, rounding=rounding), 2.0**whole)
print("2^x of integers is exact in every mode; sin(3 pi) is", rf.sinpi(3.0, half, rounding="toward_negative"))
assert rf.sinpi(3.0, half) == 0

# %% [markdown]
# ## Exercises
#
# 1. How many bits decide exp in bfloat16, between -9.7 and 11?  Guess first: it has 8 significant bits.
# 2. Is sin rounded through float32 wrong anywhere in float16?
# 3. e^x and 1 + x: for which x of float16 does rounding to nearest give exactly 1?  And toward positive?

# %% [markdown]
# ## Solutions
#
# **1.** More than 2 * 8: there are some thousand values, and for small x the result is nearly 1 + x, which lies on
# boundaries.

# %%
brain = rf.format("bfloat16")
y = rf.values(brain)
y = y[(abs(y) > 2.0**-8) & (y > -9.7) & (y < 11)]
steps = [exp(exactly(Fraction(v))).magnitude for v in y.tolist()]
far = [
    float(abs(s * Fraction(2) ** (brain.mantissa_bits - float_codes.floor_log2(s)) % 1 - Fraction(1, 2))) for s in steps
]
needed = math.ceil(-math.log2(min(far))) + 8
print(needed, "bits")
assert 16 <= needed < bits

# %% [markdown]
# **2.** Yes: any function is, if there are enough values.

# %%
finite = every[np.isfinite(every)]
sine = np.sin(finite.astype(np.float64)).astype(np.float32).astype(np.float16)
count = int((sine != rf.sin(finite, half)).sum())
print(count, "of", finite.size)
assert count < 100

# %% [markdown]
# **3.** To nearest, from half a step below 1 to half a step above.  Toward positive at 0 alone, and just below it.

# %%
ones = finite[rf.exp(finite, half) == 1]
up = finite[rf.exp(finite, half, rounding="toward_positive") == 1]
print(f"to nearest {ones.min()} to {ones.max()}, upward {up.min()} to {up.max()}")
assert ones.max() > 0 and up.max() == 0

# %% [markdown]
# **Next:** [00 which precision should I buy?](00_which_precision_to_buy.ipynb), back to the beginning: which would you
# buy now?
