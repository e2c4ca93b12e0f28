# %% [markdown]
# # Integers
#
# *Needs [01 what is a number?](01_what_is_a_number.ipynb).
# Next: [05 automatic differentiation](05_autodiff.ipynb).*
#
# Eight-bit integers need no exponent and no rounding to add and multiply.  **Claim: once values are
# codes, a scale and a zero point, a matrix product is integer arithmetic, exact to the last bit; all the
# error is in the codes, and all the danger in the accumulator.**

# %%
from fractions import Fraction

import numpy as np

import refimpl as rf

rng = np.random.default_rng(0)
x = np.array([-0.4, 0.0, 0.1, 0.75, 1.6])
codes, scale, zero = rf.quantize_int(x, "uint8")
print("codes", codes.tolist(), " scale", float(scale.item()), " zero point", int(zero.item()))
print("back ", rf.decode_int(codes, scale, zero).round(4).tolist())
assert rf.decode_int(codes, scale, zero)[1] == 0.0  # zero has a code of its own

# %% [markdown]
# **What the zero point buys.**  Values after a ReLU are never negative.  A symmetric scale spends half
# of its codes on numbers that do not come; an affine one puts them all where the values are.

# %%
line = np.linspace(0, 1.6, 400)
stairs = {}
for name, rules in {"symmetric": {"affine": False}, "affine": {"affine": True}}.items():
    q, s, z = rf.quantize_int(line, "int4" if name == "symmetric" else "uint4", **rules)
    stairs[name] = rf.decode_int(q, s, z)
worst = {name: float(np.max(abs(y - line))) for name, y in stairs.items()}
print("largest error:", {name: round(error, 4) for name, error in worst.items()})
assert worst["affine"] < 0.55 * worst["symmetric"]
rf.plots.staircases(line, stairs, title="four bits for values from 0 to 1.6")

# %% [markdown]
# ## The algebra of zero points
#
# With x = s (q - z), a product of matrices is
#
#     sum (qa - za)(qb - zb) = sum qa qb  -  za sum qb  -  zb sum qa  +  k za zb
#
# and only the first sum costs a multiplication for each pair.  **Nothing is rounded on the way**: the
# integers times both scales are the product of the decoded matrices, as fractions, to the last bit.

# %%
A = np.maximum(rng.standard_normal((6, 64)), 0)  # activations
B = rng.standard_normal((64, 5))  # weights: a scale for each column
qa, sa, za = rf.quantize_int(A, "uint8")
qb, sb, zb = rf.quantize_int(B, "int8", axis=1)
product = rf.matmul_int(qa, qb, zero_points=(za, zb))
print("int32 accumulators:", product.dtype, product[0].tolist())

i, j = 2, 3
exact = sum(
    Fraction(float(sa.item())) * (int(p) - int(za.item())) * Fraction(float(sb[0, j])) * int(q)
    for p, q in zip(qa[i], qb[:, j], strict=True)
)
assert exact == Fraction(float(sa.item())) * Fraction(float(sb[0, j])) * int(product[i, j])

relative = np.linalg.norm(product * (sa * sb) - A @ B) / np.linalg.norm(A @ B)
print(f"error of the product, all of it from the codes: {relative:.4f}")
assert relative < 0.02

# %% [markdown]
# ## How long may a sum be?
#
# A product of two bytes has 16 bits and an int32 has 31, so 2^15 products are safe, and not many more.
# **One product too many, and the sum is a large negative number**: the hardware says nothing.  Here it is
# an error.

# %%
longest = (2**31 - 1) // 255**2
row, column = np.full((1, longest), 255, np.uint8), np.full((longest, 1), 255, np.uint8)
print(longest, "terms of 255 * 255:", int(rf.matmul_int(row, column)[0, 0]))
try:
    rf.matmul_int(np.append(row, [[255]], axis=1), np.append(column, [[255]], axis=0))
    raise AssertionError("should have been refused")
except OverflowError as error:
    print(error)
wrapped = np.int64(255**2 * (longest + 1)).astype(np.int32)
print("what a wrapping accumulator would say:", int(wrapped))
assert longest == 33025 and wrapped < 0

# %% [markdown]
# ## Multiplying without multiplying
#
# Codes of 4 bits have 16 values, and two of them 256 products: **a table of all products replaces the
# multiplier**, and it does not care whether the codes are integers, FP4, or NF4, the quantiles of a
# normal distribution.

# %%
print("2-bit codes, all products:")
print(rf.product_table("int2_full", "uint2"))
weights = rng.standard_normal((32, 8)).astype(np.float32)
nf4, _ = rf.quantize_codebook(weights, "nf4")
fp4 = rf.encode(rng.standard_normal((4, 32)).astype(np.float32) * 2, "float4_e2m1fn")
by_table = rf.matmul_lookup(fp4, nf4, "float4_e2m1fn", "nf4")

# the same by decoding and multiplying, one product after the other in float32
left = rf.decode(fp4, "float4_e2m1fn", dtype=np.float32)
right = rf.decode_codebook(nf4, np.float32(1), "nf4")
total = np.zeros((4, 8), np.float32)
for k in range(32):
    total += left[:, k, None] * right[None, k]
print("table and multiplier differ in", int(np.sum(by_table != total)), "of", total.size, "sums")
assert np.array_equal(by_table, total)

# %% [markdown]
# ## Integers or floats?
#
# With as many bits, int8 is finer for values of one size and E4M3 for values of many.  Let a few columns
# of a matrix be a hundred times larger than the rest, as in the activations of language models, and
# **one scale for all of them leaves int8 nothing for the small ones**.

# %%
for name, matrix in {
    "all alike": rng.standard_normal((64, 64)),
    "four columns times 100": rng.standard_normal((64, 64)) * np.where(np.arange(64) % 16, 1, 100),
}.items():
    matrix = matrix.astype(np.float32)
    q, s, z = rf.quantize_int(matrix, "int8")
    scale = np.float32(448 / np.max(abs(matrix)))
    small = abs(matrix) < 4
    as_int = abs(rf.decode_int(q, s, z) - matrix)[small]
    as_float = abs(rf.quantize(matrix * scale, "float8_e4m3fn") / scale - matrix)[small]
    print(f"{name:<24} mean error int8 {as_int.mean():.4f}, E4M3 {as_float.mean():.4f}")
    assert (as_int.mean() < as_float.mean()) == (name == "all alike")

# %% [markdown]
# ## Exercises
#
# 1. Quantize 0, 1, 2, 3 to `int4` by hand: what is the scale, and which are the codes?
# 2. How many products of two `int8` codes, each -128 at worst, may be added in int32?
# 3. Give each column of the last matrix a scale of its own (`axis=1`).  Which is better now, int8 or E4M3?

# %% [markdown]
# ## Solutions
#
# **1.** The largest, 3, becomes the largest code, 7: the scale is 3/7, and the codes are 0, 7/3, 14/3, 7, rounded.

# %%
q, s, _ = rf.quantize_int([0.0, 1.0, 2.0, 3.0], "int4")
assert q.tolist() == [0, 2, 5, 7] and np.isclose(float(s.item()), 3 / 7)

# %% [markdown]
# **2.** A product is at most 2^14, and 2^31 itself does not fit: one less than 2^31 / 2^14.

# %%
longest = 2**31 // 2**14 - 1
ends = np.full((1, longest + 1), -128, np.int8)
print(longest, "terms:", int(rf.matmul_int(ends[:, 1:], ends[:, 1:].T)[0, 0]))
try:
    rf.matmul_int(ends, ends.T)
    raise AssertionError("should have been refused")
except OverflowError:
    print("one more: refused")

# %% [markdown]
# **3.** int8 again.  **A scale of its own for what is large is worth more than another format.**

# %%
q, s, z = rf.quantize_int(matrix, "int8", axis=1)
per_column = abs(rf.decode_int(q, s, z, axis=1) - matrix)[small].mean()
print(f"mean error: int8 with a scale for each column {per_column:.4f}, E4M3 {as_float.mean():.4f}")
assert per_column < as_float.mean() / 2

# %% [markdown]
# **Next:** [05 automatic differentiation](05_autodiff.ipynb), from numbers to networks.
