# %% [markdown]
# # What is a number?
#
# *Needs no other lesson.
# Next: [02 rounding](02_rounding.ipynb).*
#
# To a machine, a pattern of bits.  **Claim: eight bits can mean very different sets of 256 numbers,
# and a format is nothing but the rule that says which.**

# %%
import numpy as np

import refimpl as rf

e4m3 = rf.format("float8_e4m3fn")
print(e4m3.name, "has", e4m3.bits, "bits: sign 1, exponent", e4m3.exponent_bits, "mantissa", e4m3.mantissa_bits)

# %% [markdown]
# Take a code apart by hand.  `0x3A` is `0 0111 010`: sign 0, exponent field 7, mantissa 2.  The value
# is (1 + 2/8) * 2^(7 - bias), and the bias is 7.

# %%
code = 0x3A
sign, field, mantissa = code >> 7, (code >> 3) & 15, code & 7
by_hand = (-1) ** sign * (1 + mantissa / 8) * 2.0 ** (field - e4m3.bias)
print(f"{code:08b} ->", by_hand)
assert by_hand == rf.decode([code], e4m3)[0] == 1.25

# %% [markdown]
# **Half of all numbers are smaller than 2.**  Exponents spread the values evenly over the *powers*
# of two, so they crowd around zero and thin out toward the largest.

# %%
values = rf.decode(np.arange(256), e4m3)
finite = values[np.isfinite(values)]
print("largest", finite.max(), "smallest above zero", finite[finite > 0].min())
fraction = np.mean(np.abs(finite) < 2)
print(f"{fraction:.0%} of the finite codes are below 2 in magnitude")
assert 0.49 < fraction < 0.52
rf.plots.number_line(["float4_e2m1fn", "float6_e2m3fn", "float6_e3m2fn", "float8_e4m3fn"], limit=8)

# %% [markdown]
# **The bits are a bargain between range and precision.**  Same width, one exponent bit more, one
# mantissa bit less: a hundred times the range, half the precision.

# %%
e5m2 = rf.format("float8_e5m2")
for fmt in (e4m3, e5m2):
    print(f"{fmt.name:<14} largest {fmt.max:>8}  smallest {fmt.smallest_subnormal:.2e}  next after 1: {1 + fmt.eps}")
assert e5m2.max / e4m3.max == 128 and e5m2.eps == 2 * e4m3.eps
rf.plots.bit_layout(["float16", "bfloat16", "float8_e4m3fn", "float8_e5m2", "float4_e2m1fn"])

# %% [markdown]
# **Subnormals fill the gap around zero.**  Below the smallest normal value the exponent stops
# falling and the hidden 1 is gone: the step stays constant down to zero.  Flush them away and
# everything from there down to zero becomes zero or the smallest normal.

# %%
steps = np.diff(np.unique(finite[(finite >= 0) & (finite <= 2 * e4m3.smallest_normal)]))
print("steps from 0 to twice the smallest normal:", np.unique(steps))
assert (steps == e4m3.smallest_subnormal).all()
flushed = rf.FloatFormat(exponent_bits=4, mantissa_bits=3, specials="fn", has_subnormals=False)
tiny = 3 * e4m3.smallest_subnormal
print(tiny, "->", rf.quantize([tiny], e4m3)[0], "with subnormals,", rf.quantize([tiny], flushed)[0], "without")
assert rf.quantize([tiny], e4m3)[0] == tiny and rf.quantize([tiny], flushed)[0] == 0

# %% [markdown]
# **The same letters, three formats.**  "E4M3" leaves open what the topmost codes mean, and that
# moves the largest value: IEEE's spends a whole exponent on infinity and NaN, OCP's FP8 a single
# code on NaN, and the formats of the PEPPP paper spend nothing.

# %%
for name in ("float8_e4m3", "float8_e4m3fn", "e4m3"):
    fmt = rf.format(name)
    print(f"{name:<14} specials={fmt.specials:<5} largest {fmt.max}")
assert [rf.format(n).max for n in ("float8_e4m3", "float8_e4m3fn", "e4m3")] == [240, 448, 480]

# %% [markdown]
# **Integers err by a constant, floats by a proportion.**  Scale a tensor so that its largest value
# just fits.  Large values are better off in INT8, small ones in FP8, and where the lines cross
# decides which format a tensor wants.

# %%
x = np.array([1.0, 0.3, 0.001], np.float32)
codes, scale, _ = rf.quantize_int(x, "int8")
int8 = np.abs(codes * scale - x) / x
fp8 = np.abs(rf.quantize(x * 448, "float8_e4m3fn") / 448 - x) / x
for value, a, b in zip(x, int8, fp8, strict=True):
    print(f"{value:.3f} of the largest: relative error {a:.4f} in INT8, {b:.4f} in E4M3")
assert int8[1] < fp8[1] and int8[2] == 1 > fp8[2]
rf.plots.relative_error()

# %% [markdown]
# ## Exercises
#
# 1. Take `0xC5` apart by hand, as a code of `float8_e5m2` (bias 15).
# 2. Up to which whole number does `float8_e4m3fn` hold all of them?  Say why before you try.
# 3. How many finite values do `float8_e4m3fn` and `float8_e5m2` share?  Guess first: is one a subset of the other?

# %% [markdown]
# ## Solutions
#
# **1.** `0xC5` is `1 10001 01`: negative, exponent field 17, mantissa 1.  The value is -(1 + 1/4) * 2^(17 - 15) = -5.

# %%
assert rf.decode([0xC5], "float8_e5m2")[0] == -(1 + 1 / 4) * 2 ** (17 - 15) == -5

# %% [markdown]
# **2.** Four significant bits, the hidden one included, hold all whole numbers up to 2^4 = 16.  17 needs five.

# %%
whole = np.arange(0, 30)
held = rf.quantize(whole.astype(float), e4m3) == whole
print("the first that is missing:", int(whole[~held][0]))
assert whole[~held][0] == 17

# %% [markdown]
# **3.** Neither is a subset: E4M3 has mantissas that E5M2 lacks, E5M2 magnitudes beyond E4M3.

# %%
other = rf.decode(np.arange(256), e5m2)
shared = np.intersect1d(finite, other[np.isfinite(other)])
print(f"shared: {len(shared)} of {len(np.unique(finite))} values of E4M3")
assert len(shared) == 135 and np.abs(shared).max() == 448

# %% [markdown]
# **Next:** [02 rounding](02_rounding.ipynb), what becomes of numbers that are not in the format.
