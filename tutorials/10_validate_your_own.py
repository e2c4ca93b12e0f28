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
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

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
# **Keep it right: one line in your tests** makes a test of every case group and law; `report.save_html("report.html")`
# draws the failing cases for those who were not there.
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
# ## An adder in C
#
# **Arithmetic is held to the definition in the same way**: the program reads the codes of two operands, a word each,
# and prints the code of their sum.  All 65,536 pairs are tried.  This adder of E4M3 is exact up to its last line but
# two, for every value is an integer in units of $2^{-9}$; then it rounds half a unit up.

# %%
adder = """
#include <stdio.h>
#include <stdlib.h>

static int value(unsigned code) { /* in units of 2^-9 */
    int exponent = code >> 3 & 15, mantissa = code & 7;
    int size = exponent ? (8 + mantissa) << (exponent - 1) : mantissa;
    return code & 128 ? -size : size;
}

static unsigned add(unsigned a, unsigned b) {
    if ((a & 127) == 127 || (b & 127) == 127) return 127; /* NaN */
    int sum = value(a) + value(b), size = abs(sum), shift = 0;
    if (sum == 0) return a & b & 128;
    while (size >> shift > 15) shift++;
    int rest = size & ((1 << shift) - 1), half = (1 << shift) / 2;
    int code = (shift << 3) + (size >> shift);
    if (shift > 0 && UP) code++;
    return (sum < 0 ? 128 : 0) | (code > 126 ? 127 : code);
}

int main(void) {
    unsigned a, b;
    while (scanf("%x %x", &a, &b) == 2) printf("%02x\\n", add(a, b));
}
"""
UP = {"wrong": "rest >= half", "right": "(rest > half || (rest == half && code % 2))"}


def judged(up):
    """Compile the adder with a condition for rounding up, and hold it to the definition."""
    with tempfile.TemporaryDirectory() as folder:
        source, program = Path(folder, "adder.c"), Path(folder, "adder")
        source.write_text(adder.replace("UP", up))
        subprocess.run(["cc", "-O2", "-o", program, source], check=True)
        return rf.testing.conform(rf.testing.Program((str(program),), "add"), "float8_e4m3fn", op="add")


compiler = shutil.which("cc") is not None
if compiler:
    report = judged(UP["wrong"])
    print([result.name for result in report.failures], report.diagnosis)
    ties = next(result for result in report.failures if result.name == "ties")
    print(ties.failure)
    assert "half way" in str(ties.failure)
    assert judged(UP["right"]).passed
else:
    print("There is no C compiler here: read on, or run this where there is one.")

# %% [markdown]
# ## Seen from Verilog
#
# **A simulator needs no pipe into it: operands go in by `$readmemh`, results come back by `$display`.**  `refimpl
# vectors add float8_e4m3fn --level all --readmemh --inputs-only` writes the file of operands, two codes to a word;
# the testbench prints each with its sum; `refimpl verify add` reads that.  The same adder, with the same mistake:

# %%
unit = """
module e4m3_add (input [7:0] a, input [7:0] b, output [7:0] sum);
  function signed [19:0] value(input [7:0] code);  // in units of 2^-9
    reg [19:0] size;
    begin
      size = code[6:3] ? (20'd8 + code[2:0]) << (code[6:3] - 1) : code[2:0];
      value = code[7] ? -size : size;
    end
  endfunction

  function [7:0] rounded(input signed [19:0] exact);
    reg [19:0] size, rest, half, code;
    integer shift;
    begin
      size = exact < 0 ? -exact : exact;
      shift = 0;
      while (size >> shift > 15) shift = shift + 1;
      rest = size - ((size >> shift) << shift);
      half = (20'd1 << shift) >> 1;
      code = (shift << 3) + (size >> shift);
      if (shift > 0 && UP) code = code + 1;
      rounded = {exact < 0, code > 126 ? 7'd127 : code[6:0]};
    end
  endfunction

  wire signed [19:0] exact = value(a) + value(b);
  assign sum = &a[6:0] | &b[6:0] ? 8'd127 : exact == 0 ? {a[7] & b[7], 7'd0} : rounded(exact);
endmodule
"""
bench = """
module check;
  reg [15:0] operands[0:65535];
  reg [7:0] a, b;
  wire [7:0] sum;
  integer i;
  e4m3_add adder (a, b, sum);
  initial begin
    $readmemh("operands.hex", operands);
    for (i = 0; i < 65536; i = i + 1) begin
      {a, b} = operands[i];
      #1 $display("%h %h", operands[i], sum);
    end
  end
endmodule
"""
vectors = rf.testing.Vectors("add", rf.testing.Behaviour("float8_e4m3fn"), "all")


def simulated(up):
    """Simulate the adder with a condition for rounding up, and verify what it prints."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "adder.v").write_text(unit.replace("UP", up) + bench)
        words = (f"{a:02x}{b:02x}" for a in range(256) for b in range(256))
        Path(folder, "operands.hex").write_text("\n".join(words))
        subprocess.run(["iverilog", "-o", "check", "adder.v"], cwd=folder, check=True)
        said = subprocess.run(["vvp", "-n", "check"], cwd=folder, check=True, capture_output=True).stdout
    return rf.testing.verify(vectors, [said], name="e4m3_add")


if shutil.which("iverilog"):
    report = simulated(UP["wrong"])
    print(report)
    assert not report.passed and "half way" in str(report)
    assert simulated(UP["right"].replace("code % 2", "code[0]")).passed
else:
    print("There is no Icarus Verilog here (iverilog); any simulator prints the same lines.")

# %% [markdown]
# ## A quantizer of MX blocks
#
# **Of blocks most go wrong in the scale.**  The scale of OCP's MXFP4 is the largest power of two in the block's largest
# magnitude, by $2^2$, the largest in E2M1.  Here it is the *nearest* power of two, which looks as good.


# %%
def floor_of_log2(largest):
    """Return the exponent of the largest power of two that is not larger."""
    return np.frexp(largest)[1] - 1.0


def nearest_of_log2(largest):
    """Return the exponent of the nearest power of two, on a logarithmic scale."""
    return np.round(np.log2(np.where(largest > 0, largest, 1)))


def mx(x, exponent):
    """Quantize rows of blocks of 32 to MXFP4."""
    blocks = x.astype(np.float64).reshape(x.size // 32, 32)
    largest = np.abs(blocks).max(1, keepdims=True, initial=0)
    scale = np.where(np.isfinite(largest), np.exp2(np.clip(exponent(largest) - 2, -127, 127)), np.nan)
    values = rf.quantize(blocks / scale, "float4_e2m1fn", overflow="saturate") * scale
    return values.reshape(x.shape).astype(x.dtype)


block = np.zeros((1, 32), np.float32)
block[0, :4] = 7.0, 1.0, 0.5, 0.25
print(mx(block, floor_of_log2)[0, :4], mx(block, nearest_of_log2)[0, :4])
assert not (mx(block, floor_of_log2) == mx(block, nearest_of_log2)).all()

report = rf.testing.conform(lambda x: mx(x, nearest_of_log2), "mxfp4_e2m1", inputs=["float32"])
print(report.diagnosis)
scales = next(result for result in report.failures if result.name == "scales")
print(scales.failure)
assert "so the scale has code" in str(scales.failure)
assert rf.testing.conform(lambda x: mx(x, floor_of_log2), "mxfp4_e2m1", inputs=["float32"]).passed

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
# 3. Scale MX blocks by the next power of two *above* the largest magnitude, so that nothing saturates.  Which
#    `scale_rule=` of MX is that, nearly, and what does the report call it?

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


def above(largest):
    """Return the exponent of the smallest power of two that is not smaller."""
    return np.ceil(np.log2(np.where(largest > 0, largest, 1)))


report = rf.testing.conform(lambda x: mx(x, above), "mxfp4_e2m1", inputs=["float32"])
print("3.", report.diagnosis)
assert "ceil" in report.diagnosis

# %% [markdown]
# **Next:** [11 choosing formats by measurement](11_choose_by_metric.ipynb), which format for which tensor.
