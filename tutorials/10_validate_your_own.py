# %% [markdown]
# # Validate your own quantizer
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
