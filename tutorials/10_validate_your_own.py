# %% [markdown]
# # Validate your own quantizer
#
# *Needs [02 rounding](02_rounding.ipynb).
# Next: [11 choosing formats by measurement](11_choose_by_metric.ipynb).*
#
# You wrote a quantizer: in Python, in C, in hardware.  **Claim: one call finds what is wrong with it,
# shows the smallest case bit by bit, and usually names the mistake.**  Here is one for OCP's FP8 E4M3,
# written as many are: take the exponent, divide, round, multiply.

# %%
import sys

import numpy as np

import refimpl as rf


def mine(x):
    """Round to E4M3, wrongly in two ways."""
    x32 = x.astype(np.float32)  # "float32 is precise enough"
    size = np.abs(x32).astype(np.float64)
    exponent = np.maximum(np.frexp(size)[1] - 1, -6)
    step = np.ldexp(1.0, exponent - 3)
    with np.errstate(invalid="ignore"):
        rounded = np.floor(size / step + 0.5) * step  # "add a half and cut"
        rounded = np.where(rounded > 448, np.nan, rounded)
    return np.copysign(rounded, x).astype(x.dtype)


report = rf.testing.conform(mine, "float8_e4m3fn")
print(report)
assert not report.passed

# %% [markdown]
# Read the report from the bottom.  **The diagnosis names both mistakes**: halves go away from zero, not to
# even, and float64 inputs pass through float32.  Above it stands the smallest failing case of each
# group: the input in bits, the two values next to it, which is right and why, and what we gave.

# %%
print(report.diagnosis)
assert "ties_to_away" in report.diagnosis and "through float32" in report.diagnosis
ties = next(result for result in report.failures if result.name == "ties")
print(ties.failure.explanation)
assert "half way" in ties.failure.explanation

# %% [markdown]
# Seen: between 1 and 2, E4M3 has the eighths, so every second sixteenth is a tie.
# **Half of the ties are wrong**, those that should go down.

# %%
sixteenths = np.arange(1, 2 + 1 / 16, 1 / 16)
by_definition, by_mine = rf.quantize(sixteenths, "float8_e4m3fn"), mine(sixteenths)
assert np.sum(by_definition != by_mine) == 4
rf.plots.staircases(sixteenths, {"definition": by_definition, "mine": by_mine}, title="E4M3 at the sixteenths")

# %% [markdown]
# First repair: `np.rint` rounds halves to even.  **The next report is shorter, and names what is left.**


# %%
def better(x, wide=np.float32):
    """Round to E4M3, ties to even."""
    size = np.abs(x.astype(wide)).astype(np.float64)
    exponent = np.maximum(np.frexp(size)[1] - 1, -6)
    step = np.ldexp(1.0, exponent - 3)
    with np.errstate(invalid="ignore"):
        rounded = np.rint(size / step) * step
        rounded = np.where(rounded > 448, np.nan, rounded)
    return np.copysign(rounded, x).astype(x.dtype)


report = rf.testing.conform(better, "float8_e4m3fn")
print(report.diagnosis)
assert report.diagnoses[0] == "rounds float64 through float32"


# %%
def right(x):
    """Round to E4M3 once, from the type that x has."""
    return better(x, wide=np.float64)


report = rf.testing.conform(right, "float8_e4m3fn")
print(str(report).splitlines()[0])
assert report.passed

# %% [markdown]
# **Keep it right: one line in your tests** makes a test of every case group and law.
#
#     test_mine = rf.testing.pytest_tests(right, "float8_e4m3fn")
#
# **A program in any language can be held to the definition on a pipe.**  It reads a float in
# hexadecimal and prints the result, a line for a line.  This one cuts the significand off:

# %%
program = """
import struct, sys, math
for line in sys.stdin:
    (x,) = struct.unpack(">f", bytes.fromhex(line.strip()))
    if x != x or math.isinf(x):
        y = math.nan
    else:
        step = 2.0 ** (max(math.frexp(x)[1] - 1, -6) - 3)
        y = math.copysign(math.floor(abs(x) / step) * step, x)
        y = math.nan if abs(y) > 448 else y
    print(struct.pack(">f", y).hex())
"""
outside = rf.testing.Program((sys.executable, "-c", program), "quantize")
report = rf.testing.conform(outside, "float8_e4m3fn", inputs=["float32"])
print(report.diagnosis)
assert "toward_zero" in report.diagnosis

# %% [markdown]
# **And if you do not know what a quantizer does, ask it.**  `identify` finds format and rounding from
# answers alone, in a few calls, and says which other answers would have looked the same.

# %%
found = rf.testing.identify(right)
print(found)
assert found.format.name == "float8_e4m3fn" and found.rounding == "ties_to_even"
found = rf.testing.identify(lambda x: rf.quantize(x, "bfloat16", rounding="to_odd"))
print(found)
assert (found.format.name, found.rounding) == ("bfloat16", "to_odd")

# %% [markdown]
# ## Exercises
#
# 1. Many chips flush subnormal results to zero.  Break `right` that way, and see whether the report names it.
# 2. Let `right` give 448 for everything beyond, infinity included.  It does not conform any more: to which
#    `overflow=` rule does it?
# 3. Which format and rounding has `lambda x: x.astype(np.float16)`?  Ask, and compare with what you know of NumPy.

# %% [markdown]
# ## Solutions


# %%
def flushing(x):
    """Flush what comes out subnormal."""
    y = right(x)
    return np.where(np.abs(y) < 2.0**-6, np.copysign(0, x), y).astype(x.dtype)


def saturating(x):
    """Give the largest value for everything beyond it."""
    y = right(x)
    return np.where(np.isnan(y) & ~np.isnan(x), np.copysign(448, x), y).astype(x.dtype)


print("1.", rf.testing.conform(flushing, "float8_e4m3fn").diagnosis)
assert "subnormal" in rf.testing.conform(flushing, "float8_e4m3fn").diagnosis

print("2.", rf.testing.conform(saturating, "float8_e4m3fn").diagnosis)
passed = {
    rule: rf.testing.conform(saturating, "float8_e4m3fn", overflow=rule).passed for rule in ("overflow", "saturate")
}
assert passed == {"overflow": False, "saturate": True}

found = rf.testing.identify(lambda x: x.astype(np.float16))
print("3.", found)
assert (found.format.name, found.rounding) == ("float16", "ties_to_even")

# %% [markdown]
# **Next:** [11 choosing formats by measurement](11_choose_by_metric.ipynb), which format for which tensor.
