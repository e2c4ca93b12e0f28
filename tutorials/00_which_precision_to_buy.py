# %% [markdown]
# # Which precision should I buy?
#
# Training a network in fewer bits saves memory and costs accuracy.  There are 99 sensible ways of
# choosing the bits here, and training them all on your data to find the best one defeats the
# purpose.  **Claim: eight trainings, well chosen, predict the other ninety-one.**
#
# The idea (PEPPP, arXiv 2106.09686): tasks are alike.  What other tasks have taught about the 99
# configurations is a table, and the table has a simple shape.

# %%
import numpy as np

import refimpl as rf

digits = rf.data.load("digits")  # real handwriting, 8x8 pixels
errors = rf.peppp.meta_training(digits)  # what 18 other tasks have taught; no digit among them
print(errors.values.shape, "test errors; configurations such as", errors.columns[57])

# %% [markdown]
# A configuration names two formats.  The narrow one holds weights, activations and their gradients,
# the wide one what the optimizer keeps.  `e4m3` has 4 exponent and 3 mantissa bits: few numbers.

# %%
e4m3 = rf.format("e4m3")
print(f"{e4m3.bits} bits; from {e4m3.smallest_subnormal} to {e4m3.max}; after 1 comes {1 + e4m3.eps}")
print(rf.quantize([0.1, 1.3, 1000.0], e4m3, overflow="saturate"))

# %% [markdown]
# **The table is simple**: two patterns, mixed differently for each task, explain nearly all of it;
# what is left is the luck of single trainings.  The singular values say so: two, and then a plateau.

# %%
singular = np.linalg.svd(errors.values, compute_uv=False)
print("singular values:", singular.round(2)[:8])
left = np.sqrt((singular[2:] ** 2).sum() / (singular**2).sum())
print(f"two patterns leave {left:.1%} of the table unexplained")
assert left < 0.15

# %% [markdown]
# So a new task is two numbers.  Eight measurements, noisy as each is, determine them well if they are
# chosen well.  The next line chooses one after the other, each time the configuration whose error is
# expected to improve the decision most (the *knowledge gradient*; the paper's choice, D-optimal design, is
# `method="ed-mf"`).  It trains eight networks on the digits, and predicts ninety-one.

# %%
estimate = rf.peppp.estimate_frontier(errors, digits, budget=8, jobs=1, progress=False)
for i in estimate.chosen:
    print(f"{estimate.names[i]:<12} {estimate.memory_mb[i]:.3f} MB   measured {estimate.measured[i]:.3f}")

# %% [markdown]
# What is worth buying is the *frontier*: the configurations for which no other one needs less
# memory and errs less.

# %%
for i in sorted(np.flatnonzero(estimate.frontier), key=lambda i: estimate.memory_mb[i]):
    print(f"{estimate.names[i]:<12} {estimate.memory_mb[i]:.3f} MB   error {estimate.error[i]:.3f}")
print("recommended:", estimate.names[estimate.recommended])

rf.plots.frontier(estimate, title="digits: eight measured, ninety-one predicted")

# %% [markdown]
# **Check it.**  Train a configuration that was only predicted, and compare.  One training is noisy
# (repeat it with another seed and the error moves by a few hundredths), so the prediction is as
# good as can be asked when it is about that close.

# %%
from refimpl.peppp.sweeping.sweep import Settings, train_cell  # noqa: E402

unseen = [i for i in range(0, 99, 12) if i not in estimate.chosen]
found = [train_cell("digits", estimate.names[i], Settings())["error"] for i in unseen]
for i, error in zip(unseen, found, strict=True):
    print(f"{estimate.names[i]:<12} predicted {estimate.error[i]:.3f}   trained {error:.3f}")
away = np.abs(estimate.error[unseen] - found)
print(f"median distance {np.median(away):.3f}")
assert np.median(away) < 0.1
