# %% [markdown]
# # Training in low precision
#
# *Needs [02 rounding](02_rounding.ipynb) and [05 automatic differentiation](05_autodiff.ipynb).
# Next: [07 memory](07_memory.ipynb).*
#
# **Claim: eight bits are enough to learn from, if you know what each bit is for.**  Mantissa bits
# buy accuracy, one after the other.  Exponent bits buy range, and whether you need them is decided by
# one number, the loss scale.

# %%
import numpy as np

import refimpl as rf

task = rf.data.load("digits")
SEEDS = 3


def errors(low, *, loss_scale=1000.0, seeds=SEEDS):
    """Test errors of the small CNN in one low format, over seeds."""
    policy = rf.Precision(low=low, high="e8m7", loss_scale=loss_scale)
    return [rf.nn.fit(rf.nn.cnn(), task, precision=policy, seed=s).test_error for s in range(seeds)]


baseline = np.mean([rf.nn.fit(rf.nn.cnn(), task, seed=s).test_error for s in range(SEEDS)])
print(f"float32: test error {baseline:.3f}")

# %% [markdown]
# **What is rounded, and when?**  A training step can print it.  Values are rounded in the
# forward pass, gradients in the backward pass, and the optimizer keeps its own weights in a wider format.

# %%
plan = rf.nn.rounding_plan(rf.nn.cnn(), task, rf.Precision(low="e4m3", high="e8m7"))
print(plan)
assert [row["role"] for row in plan][-4:] == ["weight gradient", "master weight", "weight", "momentum"]

# %% [markdown]
# **Mantissa bits buy accuracy.**  Four exponent bits, and one to four mantissa bits.

# %%
mantissa = [1, 2, 3, 4]
by_mantissa = {"4 exponent bits": [errors(f"e4m{m}") for m in mantissa]}
for m, found in zip(mantissa, by_mantissa["4 exponent bits"], strict=True):
    print(f"e4m{m}: {np.mean(found):.3f}   seeds {np.round(found, 3)}")
means = np.mean(by_mantissa["4 exponent bits"], axis=1)
assert means[0] > means[1] > means[3] and means[3] < 0.08

rf.plots.error_lines(
    mantissa,
    by_mantissa,
    label="mantissa bits of the low format",
    baseline=baseline,
    title="digits: error rises as mantissa bits fall",
)

# %% [markdown]
# **The loss scale decides whether exponent bits matter.**  Gradients of activations are tiny.  With
# three exponent bits, everything below 2^-4 or so is lost, unless the loss is multiplied by 1000
# first.  With five, it makes no difference.

# %%
exponent = [3, 4, 5]
by_scale = {f"loss scale {scale:g}": [errors(f"e{e}m2", loss_scale=scale) for e in exponent] for scale in (1.0, 1000.0)}
for name, found in by_scale.items():
    print(name, {f"e{e}m2": round(float(np.mean(f)), 3) for e, f in zip(exponent, found, strict=True)})
lost, kept = (np.mean(found, axis=1) for found in by_scale.values())
assert lost[0] > kept[0] + 0.2 and abs(lost[2] - kept[2]) < 0.1

rf.plots.error_lines(
    exponent,
    by_scale,
    label="exponent bits of the low format (2 mantissa bits)",
    baseline=baseline,
    title="digits: the loss scale decides whether exponent bits matter",
)

# %% [markdown]
# **Where did they go?**  The history counts, for each role, how many numbers became zero that were
# none before (underflow), and how many were too large (overflow).  Without the scale, twice as many
# activation gradients vanish; and those that do not are the lucky ones of stochastic rounding.

# %%
gone = {}
for scale in (1.0, 1000.0):
    policy = rf.Precision(low="e3m2", high="e8m7", loss_scale=scale)
    counts = rf.nn.fit(rf.nn.cnn(), task, precision=policy, epochs=1).history[0]["counts"]
    found = counts["activation gradient"]
    gone[scale] = found["underflow"] / found["elements"]
    print(f"scale {scale:g}: activation gradients that became zero: {gone[scale]:.0%}")
assert gone[1.0] > 1.5 * gone[1000.0]

# %% [markdown]
# **Other ways of training in few bits** are policies too.  All of them learn the digits.

# %%
for name in ("float32", "peppp", "mixed", "pure16", "fp8", "int8"):
    error = rf.nn.fit(rf.nn.cnn(), task, precision=rf.nn.preset(name)).test_error
    print(f"{name:<8} test error {error:.3f}")
    assert error < 0.15

# %% [markdown]
# ## Exercises
#
# 1. In `e3m2` without a loss scale nothing was learned.  Give five exponent bits to one role alone,
#    `roles={"activation gradient": "e5m2"}`, and train again.
# 2. If 1000 is a good loss scale, is ten million better?  Train `e4m3` with both.
# 3. Low formats are rounded stochastically here.  Train `e4m1` with `rounding="ties_to_even"` too.  Which is better,
#    and what would you look at before you believe it of other networks?

# %% [markdown]
# ## Solutions


# %%
def trained(low, **how):
    """Return the mean test error over seeds."""
    policy = rf.Precision(low=low, high="e8m7", **{"loss_scale": 1000.0, **how})
    return float(np.mean([rf.nn.fit(rf.nn.cnn(), task, precision=policy, seed=s).test_error for s in range(SEEDS)]))


# %% [markdown]
# **1.** The range was missing where numbers are tiny, and nowhere else.

# %%
wide = trained("e3m2", loss_scale=1.0, roles={"activation gradient": "e5m2"})
print(f"e3m2 without loss scale {np.mean(lost[0]):.3f}, with e5m2 for activation gradients {wide:.3f}")
assert wide < lost[0] - 0.2

# %% [markdown]
# **2.** No: gradients leave the format at its other end.  A loss scale moves a window; it does not widen it.

# %%
scaled = {scale: trained("e4m3", loss_scale=scale) for scale in (1e3, 1e7)}
print(scaled)
assert scaled[1e7] > scaled[1e3] + 0.05

# %% [markdown]
# **3.** To nearest, by far: with one mantissa bit the dice add noise as large as the numbers.  Stochastic rounding pays
# where many *small* things are added to a large one, as in tutorial 02; here the sums are kept in a wider format
# already. Before you believe it elsewhere: other seeds, other networks, longer training, and which tensors were
# rounded.

# %%
rules = {rule: trained("e4m1", rounding=rule) for rule in ("stochastic", "ties_to_even")}
print(rules)
assert rules["ties_to_even"] < rules["stochastic"] - 0.05

# %% [markdown]
# **Next:** [07 memory](07_memory.ipynb), what it costs.
