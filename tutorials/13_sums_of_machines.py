# %% [markdown]
# # Sums of machines
#
# *Needs [03 arithmetic](03_arithmetic.ipynb) and [06 training in low precision](06_training_in_low_precision.ipynb).
# Next: [14 correct rounding of functions](14_correct_functions.ipynb).*
#
# Multiply the same two matrices of FP8 on five machines, and five answers come back.  Nobody made a
# mistake.  **Claim: what decides whether FP8 works is, after the format, how the machine adds; and you
# can find out how any machine adds, by asking it for sums.**

# %%
from dataclasses import replace

import numpy as np

import refimpl as rf
from refimpl.formats.units import UNITS
from refimpl.nn import Precision, Rounding
from refimpl.testing import identify_sum

e4m3 = "float8_e4m3fn"
rng = np.random.default_rng(0)
a = np.abs(rf.quantize(rng.standard_normal((16, 4096)).astype(np.float32), e4m3))  # as behind a ReLU
b = np.abs(rf.quantize(rng.standard_normal((4096, 16)).astype(np.float32), e4m3))
exact = a.astype(np.float64) @ b
machines = ["hopper-fp8", "hopper-fp8-promoted", "ada-fp8", "blackwell-fp8"]
for name in machines:
    off = rf.matmul(a, b, e4m3, unit=name) / exact - 1
    print(f"{name:20} {100 * off.mean():+8.4f} % on average, {100 * np.abs(off).max():.4f} % at most")
half = rf.matmul(a, b, e4m3, accumulate="float16") / exact - 1
print(f"{'float16, in turn':20} {100 * half.mean():+8.4f} % on average")
hopper = rf.matmul(a, b, e4m3, unit="hopper-fp8") / exact - 1
assert hopper.max() < 0 and np.abs(hopper).max() > 0.05

# %% [markdown]
# Hopper is seven per cent off, always too low.  The formats of the factors are the same, and every
# product is exact.  The difference is in the sum.
#
# ## One group, by hand
#
# A tensor core takes some products at once.  It shifts all of them, and what it has summed so far, to
# the largest exponent among them, **cuts off** what lies more than so many bits behind the point, and
# adds what is left.  On Hopper, FP8 keeps 13 bits, on Blackwell 25.

# %%
first, second = np.array([[1.0, -1.0, 2.0**-13, 2.0**-14]]), np.ones((4, 1))
kept = {name: rf.matmul(first, second, "float8_e5m2", unit=name).item() for name in ("hopper-fp8", "blackwell-fp8")}
print("1 - 1 + 2^-13 + 2^-14:", kept)
assert kept == {"hopper-fp8": 2.0**-13, "blackwell-fp8": 2.0**-13 + 2.0**-14}

# %% [markdown]
# One and minus one cancel, but they have set the exponent: 2^-14 was gone before they did.  Cutting
# always goes toward zero, so errors of positive sums do not average out: they add up.  The more terms,
# the larger the sum beside each of them.

# %%
depths = np.array([128, 256, 512, 1024, 2048, 4096])
lines = {}
for name in ("hopper-fp8", "hopper-fp8-promoted", "blackwell-fp8"):
    sums = (rf.matmul(a[:, :k], b[:k], e4m3, unit=name) / (a[:, :k].astype(np.float64) @ b[:k]) for k in depths)
    lines[name] = np.array([ratio.mean() for ratio in sums])
assert lines["hopper-fp8"][-1] < 0.95 and lines["hopper-fp8-promoted"].min() > 0.999
rf.plots.running_sums(depths, lines, exact=np.ones(6), title="FP8 sums of positive products, the exact sum being 1")

# %% [markdown]
# **The remedy is a second accumulator.**  After every 128 products the partial sum goes to a float32
# register, and the tensor core begins again from zero: the line at the top.  DeepSeek-V3 was trained
# so.
#
# ## How does *your* machine add?
#
# Let all terms be 1 but two, a huge number and its opposite.  Ones that are added to the huge number
# are swallowed; ones that come after the two have met are not.  So the answer tells how many terms lie
# below the place where the two meet, and with enough pairs, the whole tree.

# %%
found = identify_sum(np.sum, terms=24)
print(found)
assert found.known
rf.plots.sum_tree(found.tree, title="np.sum of 24 float32: " + found.order)

# %% [markdown]
# Eight sums side by side, for the processor's vectors.  And what is in a tensor core?  Here is one that
# does not say its name.

# %%
unknown = identify_sum(lambda x, y: rf.dot(x, y, e4m3, unit="hopper-fp8"), kind="dot", terms=96, fmt=e4m3)
print(unknown)
assert unknown.known[0] == "hopper-fp8" and unknown.alignment_bits == 13

# %% [markdown]
# ## Does it matter to a training?
#
# The three products of each layer run as the unit runs them, forward and backward.

# %%
narrow = {
    "left operand": Rounding(format="float8_e4m3fn", scaling="current"),
    "right operand": Rounding(format="float8_e4m3fn", scaling="current"),
    "product gradient": Rounding(format="float8_e5m2", scaling="current"),
}
task = rf.data.load("digits")
losses = {}
for unit in (None, "blackwell-fp8", "hopper-fp8"):
    policy = Precision(roles=narrow, products=unit, loss_scale=1.0)
    trained = rf.nn.fit(rf.nn.mlp(), task, precision=policy, epochs=4, seed=0)
    losses[unit or "float32's sums"] = trained.history[-1]["loss"]
print(losses)
assert abs(losses["hopper-fp8"] - losses["float32's sums"]) < 0.05

# %% [markdown]
# It hardly matters here: the sums of this small network have 196 terms, half of them zeros.  **At 4096
# it would: know your k.**  With 1,280 hidden units and as many images in a batch, Hopper's sums are off by
# 1.2 % of the gradient, FP8 itself by 7 %; promoted every 128 by .13 %.  The tables, five seeds and more
# networks, are in the guide on computing in a format (`python benchmarks/units.py --only depth training`).

# %% [markdown]
# ## Exercises
#
# 1. How many equal products can Hopper add in FP8 before the sum stops growing?
# 2. Let `identify_sum` look at `np.dot` on your machine, for 64 terms of float32 and of float64.  What do you see?
# 3. Make a unit of your own with `rf.MatrixUnit`: Hopper's FP8, but rounding to nearest in alignment.  How far is the
#    sum of 4096 positive products off now?

# %% [markdown]
# ## Solutions
#
# **1.** Each product is cut by itself.  Once the sum is 2^14 times a product, nothing of the product is left 13 bits
# behind the point: 16,384.

# %%
products = np.full((1, 1 << 15), 16.0), np.full((1 << 15, 1), 4.0)  # 32,768 times 64
added = rf.matmul(*products, e4m3, unit="hopper-fp8").item() / 64
print("of 32768 products counted:", added)
assert added == 1 << 14

# %% [markdown]
# **2.** Whatever your library does, it is a tree, and the answer names its arithmetic: here several sums side by side,
# of fused multiply-adds.

# %%
for fmt in ("float32", "float64"):
    seen = identify_sum(np.dot, kind="dot", terms=64, fmt=fmt)
    print(fmt, "-", seen.order, "-", seen.known)
    assert seen.tree is not None

# %% [markdown]
# **3.** Rounding to nearest in alignment is nearly all of the cure.  What is left is what rounding cannot bring back:
# a product below half of the last bit.

# %%
nearest = replace(UNITS["hopper-fp8"], cut="ties_to_even")
both = replace(nearest, rounding="ties_to_even")
for name, unit in (("as it is", UNITS["hopper-fp8"]), ("aligned to nearest", nearest), ("written so, too", both)):
    print(f"{name:20} {100 * (rf.matmul(a, b, e4m3, unit=unit) / exact - 1).mean():+.3f} %")
assert abs((rf.matmul(a, b, e4m3, unit=both) / exact - 1).mean()) < 0.1 * abs(hopper.mean())

# %% [markdown]
# **Next:** [14 correct rounding of functions](14_correct_functions.ipynb), where no sum is long enough.
