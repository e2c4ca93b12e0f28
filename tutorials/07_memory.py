# %% [markdown]
# # Where does the memory of training go?
#
# *Needs [06 training in low precision](06_training_in_low_precision.ipynb).
# Next: [08 why eight tell of ninety-nine](08_why_eight_tell_of_ninety_nine.ipynb).*
#
# A frontier trades error against memory, so memory had better be counted right.  It is counted
# here from the layers of the network, without running anything.
#
# **Claim: most of it is activations, not weights; and it depends on the accounting.**

# %%
import math

import refimpl as rf
from refimpl.peppp.memory import MIXED_PRECISION, count

network, shape = rf.nn.cnn(channels=3, classes=10), (32, 32, 3)
narrow = rf.peppp.Configuration("e4m3", "e8m7")  # 8 bits for most things, 16 for a few
memory = count(network, shape, narrow, batch_size=32)
for kind, size in memory.by_kind().items():
    print(f"{kind:<22} {size / 2**20:8.3f} MB")
print(f"{'total':<22} {memory.total_mb:8.3f} MB")
kinds = memory.by_kind()
assert kinds["activations"] + kinds["activation gradients"] > 0.9 * memory.total_mb * 2**20

# %% [markdown]
# The rule is linear in the two widths: with $P$ parameters, $A$ outputs of layers, $C$ classes,
# $I$ numbers in an image and $B$ images, low and high bits $L$ and $H$,
# $\;L(P + 2(A - BC)) + H(2P + 2BC + BI)$.  **So every bit of the low width costs the same**, and
# the high width hardly matters: that is why the frontier is mostly about the low format.

# %%
mb = {
    low: count(network, shape, rf.peppp.Configuration(low, "e8m7")).total_mb for low in ("e4m1", "e4m2", "e4m3", "e4m4")
}
steps = [b - a for a, b in zip(list(mb.values()), list(mb.values())[1:], strict=False)]
print({k: round(v, 3) for k, v in mb.items()}, [round(s, 4) for s in steps])
assert max(steps) - min(steps) < 1e-9
wide = count(network, shape, rf.peppp.Configuration("e4m3", "e8m11")).total_mb
assert wide - mb["e4m3"] < 0.02 * mb["e4m3"]  # four more high bits: under 2 percent

# %% [markdown]
# That is the paper's rule, and it has oddities: it holds the outputs of batch norm, ReLU and
# rounding as three tensors, keeps all gradients until the end, and forgets the master weights that
# the weights are kept in.  **What training has to hold at its fullest is much less.**

# %%
needed = count(network, shape, narrow, accounting="needed")
print(f"paper {memory.total_mb:.2f} MB, needed {needed.total_mb:.2f} MB")
assert needed.total_mb < 0.6 * memory.total_mb

# %% [markdown]
# **What saves memory depends on what there is much of.**  8-bit optimizer states save nearly
# nothing where activations rule; keeping only some of these and computing the rest again does.

# %%
for name, more in {
    "Adam in single precision": {"optimizer": "adam", "state_bits": 32},
    "Adam with 8-bit states": {"optimizer": "adam", "state_bits": 8},
    "every third activation kept": {"checkpoint_every": 3},
}.items():
    found = count(network, shape, narrow, accounting="needed", **more)
    print(f"{name:<30} {found.total_mb:.3f} MB")
usual = count(network, shape, MIXED_PRECISION, accounting="needed")
assert usual.total_mb > 1.5 * needed.total_mb  # half precision against 8 bits
third = count(network, shape, narrow, accounting="needed", checkpoint_every=3)
assert third.total_mb < needed.total_mb

# %% [markdown]
# A picture, layer by layer.

# %%
assert math.isclose(sum(memory.by_layer().values()), memory.total_mb * 2**20)
rf.plots.memory(memory, title="cnn, 32x32 images, batch 32, e4m3+e8m7")

# %% [markdown]
# ## Exercises
#
# 1. Double the batch.  Which kinds of memory double?
# 2. From which batch size on (a power of two) do VGG-11's activations outweigh its weights?
# 3. For which of the two, the small CNN and VGG-11, do Adam's 8-bit states save a quarter?

# %% [markdown]
# ## Solutions
#
# **1.** What there is one of for each image: activations, their gradients, the input.

# %%
twice = count(network, shape, narrow, batch_size=64).by_kind()
print({kind: round(twice[kind] / kinds[kind], 2) for kind in kinds if kinds[kind]})
assert twice["weights"] == kinds["weights"] and twice["activations"] == 2 * kinds["activations"]

# %% [markdown]
# **2.** From 16 on.

# %%
vgg = rf.nn.network("vgg11", shape, 10)
batch = 1
while (of := count(vgg, shape, narrow, batch_size=batch).by_kind())["activations"] < of["weights"]:
    batch *= 2
print("activations outweigh weights from a batch of", batch)
assert batch == 16

# %% [markdown]
# **3.** For VGG-11, whose many weights each have two numbers of state.

# %%
saved = {}
for name, model in (("small CNN", network), ("VGG-11", vgg)):
    wide, slim = (
        count(model, shape, narrow, accounting="needed", optimizer="adam", state_bits=bits).total_mb for bits in (32, 8)
    )
    saved[name] = 1 - slim / wide
    print(f"{name:<10} {wide:8.2f} MB with 32-bit states, {slim:8.2f} with 8-bit: {saved[name]:.0%} saved")
assert saved["small CNN"] < 0.02 and saved["VGG-11"] > 0.25

# %% [markdown]
# **Next:** [08 why eight tell of ninety-nine](08_why_eight_tell_of_ninety_nine.ipynb), why few trainings tell of many.
