# %% [markdown]
# # Where does the memory of training go?
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
