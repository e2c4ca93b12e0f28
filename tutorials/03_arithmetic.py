# %% [markdown]
# # Arithmetic
#
# *Needs [02 rounding](02_rounding.ipynb).
# Next: [04 integers](04_integers.ipynb).*
#
# A machine that adds in eight bits has to put the answer back into eight bits.  **Claim: compute
# exactly and round once, and arithmetic in few bits is well behaved; most of what goes wrong is
# rounding twice, or adding small things to large ones.**

# %%
from fractions import Fraction

import numpy as np

import refimpl as rf

e4m3 = "float8_e4m3fn"
print("1 + 0.0625 =", rf.add(1.0, 0.0625, e4m3), " (a tie, to even)")
print("1 + 0.1875 =", rf.add(1.0, 0.1875, e4m3))
print("1 / 3      =", rf.div(1.0, 3.0, e4m3), "  1 / 0 in E5M2 =", rf.div(1.0, 0.0, "float8_e5m2"))
assert rf.add(1.0, 0.0625, e4m3) == 1.0 and rf.add(1.0, 0.1875, e4m3) == 1.25

# %% [markdown]
# Operands have to be values of the format, as they are in a machine's registers.  0.1 is not one, and
# rounding it silently would be a second rounding, so it is refused.

# %%
try:
    rf.add(0.1, 1.0, e4m3)
except ValueError as error:
    print(error)
assert rf.add(rf.quantize(0.1, e4m3), 1.0, e4m3) == 1.125

# %% [markdown]
# **The order of additions matters.**  FP4 has sixteen codes, so we can try every (a + b) + c and every
# a + (b + c) there is.

# %%
fp4 = rf.format("float4_e2m1fn")
values = rf.decode(np.arange(16), fp4)
a, b, c = values[:, None, None], values[None, :, None], values[None, None, :]
left = rf.add(rf.add(a, b, fp4), c, fp4)
right = rf.add(a, rf.add(b, c, fp4), fp4)
different = int(np.sum(left != right))
print(f"(a + b) + c differs from a + (b + c) for {different} of {left.size} triples")
assert different > 0 and np.array_equal(rf.add(a, b, fp4), rf.add(b, a, fp4))

# %% [markdown]
# ## Rounding twice, caught
#
# Many emulators add in a wider format and round the result to the narrow one.  **Whether that is right
# is a question about the wider format**, and for eight bits we can ask all 65,536 pairs.

# %%
codes = np.arange(256)
finite = rf.decode(codes, e4m3)
finite = finite[np.isfinite(finite)]
x, y = finite[:, None], finite[None, :]
once = rf.add(x, y, e4m3, overflow="saturate")


def through(wide, rounding):
    """Add in a wider format, then round to E4M3."""
    return rf.quantize(rf.add(x, y, wide, rounding=rounding), e4m3, overflow="saturate")


for bits in (5, 6, 7, 10, 24):  # significant bits, the hidden one included
    wide = rf.FloatFormat(exponent_bits=8, mantissa_bits=bits - 1)
    wrong = {how: int(np.sum(through(wide, how) != once)) for how in ("ties_to_even", "to_odd")}
    print(f"through {bits:2} bits: wrong for", wrong)
    assert (wrong["to_odd"] == 0) == (bits >= 6)
    assert wrong["ties_to_even"] == 0 or bits < 10

# %% [markdown]
# E4M3 has 4 significant bits.  Rounding to nearest in between is safe from 2 * 4 + 2 = 10 bits on
# (Figueroa), so float32 may be used.  *Rounding to odd* is safe from 4 + 2 on (Boldo and Melquiond):
# the last bit remembers that something was cut off.
#
# **Fused multiply-adds are not so lucky.**  3 * 683 = 2049 lies half way between two values of float16.
# Add the smallest number there is, and the sum belongs to the upper one.  float32 loses that number.

# %%
tiny = 2.0**-24
exact = Fraction(3) * 683 + Fraction(tiny)
in_float32 = np.float32(np.float32(3) * np.float32(683) + np.float32(tiny))
print(
    "exact:", float(exact), "  fma:", rf.fma(3.0, 683.0, tiny, "float16"), "  through float32:", np.float16(in_float32)
)
assert rf.fma(3.0, 683.0, tiny, "float16") == 2050 and np.float16(in_float32) == 2048

# %% [markdown]
# ## A sum that stalls
#
# bfloat16 counts to 256 and no further: 256 + 1 is a tie, and goes to the even neighbour, 256.  **No
# number of further ones moves it.**  A training step that adds small updates to a weight does the same.

# %%
ones = np.ones(600)
counts = np.arange(0, 601, 12)
orders = {
    "one by one": {},
    "pairwise": {"order": "pairwise"},
    "Kahan": {"order": "kahan"},
    "stochastic": {"rounding": "stochastic", "seed": 1},
}
sums = {name: [float(rf.sum(ones[:n], "bfloat16", **rules)) for n in counts] for name, rules in orders.items()}
print({name: found[-1] for name, found in sums.items()})
assert sums["one by one"][-1] == 256 and sums["Kahan"][-1] == sums["pairwise"][-1] == 600
rf.plots.running_sums(counts, sums, exact=counts, title="counting to 600 in bfloat16")

# %% [markdown]
# Four cures, in the order of what they cost: add in pairs (small things meet small things); round
# stochastically (right on average); carry the lost part along (Kahan); or add in more bits.  The
# update of a weight in bfloat16, a thousand times 0.001 on top of 1:

# %%
updates = np.concatenate([[1.0], rf.quantize(np.full(1000, 0.001), "bfloat16")])
print("to nearest:", rf.sum(updates, "bfloat16"), " Kahan:", rf.sum(updates, "bfloat16", order="kahan"))
many = rf.sum(np.repeat(updates[None], 200, axis=0), "bfloat16", axis=1, rounding="stochastic", seed=0)
print(f"stochastic: {many.mean():.3f}, give or take {many.std():.3f}")
assert rf.sum(updates, "bfloat16") == 1.0 and rf.sum(updates, "bfloat16", order="kahan") == 2.0
assert abs(many.mean() - 2.0) < 0.03

# %% [markdown]
# ## A matrix product is many sums
#
# The products of E4M3 numbers are exact in a few bits; **what a matrix unit is worth is decided by what
# it adds in, and in which order.**  The terms here are positive, as after a ReLU: the worst case.

# %%
rng = np.random.default_rng(0)
size, depth = 16, 4096
A = rf.quantize(abs(rng.standard_normal((size, depth))) / 16, e4m3)
B = rf.quantize(abs(rng.standard_normal((depth, size))) / 16, e4m3)
true = A @ B  # exact: float64 holds every sum of these products

errors = {}
for name, rules in {
    "float16, one by one": {"accumulate": "float16"},
    "float16, chunks of 64": {"accumulate": "float16", "order": "chunked", "chunk": 64},
    "float16, pairwise": {"accumulate": "float16", "order": "pairwise"},
    "float16, exact sum": {"accumulate": "float16", "order": "exact"},
    "bfloat16, one by one": {"accumulate": "bfloat16"},
    "E4M3, one by one": {"accumulate": e4m3, "overflow": "saturate"},
    "float32, one by one": {"accumulate": "float32"},
}.items():
    found = rf.matmul(A, B, e4m3, **rules)
    errors[name] = float(np.max(abs(found - true) / true))
    print(f"{name:<24} largest relative error {errors[name]:.1e}")
assert errors["float16, exact sum"] <= 2.0**-11 < errors["float16, chunks of 64"]
assert errors["float16, chunks of 64"] < errors["float16, one by one"] < errors["bfloat16, one by one"]
assert errors["E4M3, one by one"] > 0.5

# %% [markdown]
# ## Exercises
#
# 1. bfloat16 counts to 256 by ones.  To what do float16 and E4M3 count?
# 2. Addition in FP4 is not associative.  Is multiplication?  Try all triples.
# 3. The product of two values of E4M3 has at most eight significant bits.  Through how wide a format may a product
#    be computed and then rounded to E4M3?  Predict it, and try all pairs, as above for sums.

# %% [markdown]
# ## Solutions
#
# **1.** To 2^p, with p significant bits: 2^11 and 2^4.

# %%
reached = [float(rf.sum(np.ones(n), name)) for name, n in (("float16", 3000), (e4m3, 30))]
print(reached)
assert reached == [2048, 16]

# %% [markdown]
# **2.** No: a product that is rounded away, or too large, does not come back.

# %%
left, right = rf.mul(rf.mul(a, b, fp4), c, fp4), rf.mul(a, rf.mul(b, c, fp4), fp4)
print(f"(a b) c differs from a (b c) for {int(np.sum(left != right))} of {left.size} triples")
assert np.any(left != right) and np.array_equal(rf.mul(a, b, fp4), rf.mul(b, a, fp4))

# %% [markdown]
# **3.** Eight bits hold every product exactly, so nothing is rounded on the way, and nothing twice.  Seven do not.

# %%
once = rf.mul(x, y, e4m3, overflow="saturate")
for bits in (6, 7, 8, 9):
    wide = rf.FloatFormat(exponent_bits=8, mantissa_bits=bits - 1)
    wrong = int(np.sum(rf.quantize(rf.mul(x, y, wide), e4m3, overflow="saturate") != once))
    print(f"through {bits} bits: {wrong} wrong")
    assert (wrong == 0) == (bits >= 8)

# %% [markdown]
# **Next:** [04 integers](04_integers.ipynb), numbers without exponents.
