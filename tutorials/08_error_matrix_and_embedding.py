# %% [markdown]
# # What one task teaches about another
#
# Train many tasks in many configurations and write the errors in a table: tasks down, precisions
# across.  **Claim: the table has few patterns, so a part of it tells the rest.**

# %%
import tempfile

import numpy as np

import refimpl as rf
from refimpl.peppp.estimators.completion import inverse_propensity, rank_by_cross_validation, soft_impute
from refimpl.peppp.estimators.embedding import rank_by_rule, svd_embedding
from refimpl.peppp.estimators.factors import probabilistic_pca
from refimpl.peppp.estimators.prior import learn_belief
from refimpl.peppp.matrix.sampling import memory_biased_sample, uniform_sample

errors = rf.peppp.meta_training(rf.data.load("digits"))
print(errors.values.shape, "measured on", errors.metadata["network"], errors.fingerprint[:12])
sigma = np.linalg.svd(errors.values, compute_uv=False)
print("singular values", sigma.round(2)[:8], "- rank by the paper's rule", rank_by_rule(errors.values))
assert sigma[0] > 5 * sigma[1]

# %% [markdown]
# A matrix is a thing to work with: take parts, merge them, write them as CSV and read them back.

# %%
some, others = (errors.select(columns=errors.columns[:50]), errors.select(columns=errors.columns[50:]))
whole = some.merge(others)
assert np.array_equal(whole.values, errors.values)
with tempfile.TemporaryDirectory() as directory:
    whole.save_csv(f"{directory}/errors.csv")
    assert rf.peppp.ErrorMatrix.load_csv(f"{directory}/errors.csv").fingerprint == errors.fingerprint

# %% [markdown]
# ## Completing a table measured in part
#
# Measure a part of the entries at random, and fill the rest by a matrix of low rank.  **A half is
# enough to fill the other half to within the noise of training.**

# %%
mask, _ = uniform_sample(errors.values.shape, 0.5, seed=0)
part = np.where(mask, errors.values, np.nan)


def rms(completed, where=~mask):
    return float(np.sqrt(np.mean((completed - errors.values)[where] ** 2)))


filled = soft_impute(part, rank=5)
factors = probabilistic_pca(part, 1)
column_means = np.broadcast_to(np.nanmean(part, axis=0), part.shape)
print(
    f"column means {rms(column_means):.4f}, SoftImpute {rms(filled.values):.4f} "
    f"({filled.iterations} steps, converged: {filled.converged}), "
    f"probabilistic PCA {rms(factors.complete(part)):.4f}"
)
assert filled.converged and rms(factors.complete(part)) < 0.8 * rms(column_means)
print("rank by cross-validation over entries:", rank_by_cross_validation(part, largest=4))

# %% [markdown]
# **Acceleration is not a luxury.**  The same problem without it, as the released code solves it:

# %%
released = soft_impute(part, rank=5, accelerate=False)
print(f"accelerated {filled.iterations} steps, without {released.iterations} steps")
assert filled.iterations < released.iterations

# %% [markdown]
# ## Sampling cheap entries more often
#
# Small configurations are cheaper to measure, so measure them more often, and weight each entry by
# one over its probability.  Unclipped weights are unbiased and shaky; clipping trades one for the other.

# %%
mask, probability = memory_biased_sample(errors.memory_mb, 0.9, seed=0)
cheap = np.where(mask, errors.values, np.nan)
for clip in (None, 20.0, 3.0):
    found = soft_impute(cheap, rank=3, weights=inverse_propensity(probability, clip=clip))
    print(f"weights clipped at {clip}: {rms(found.values, ~mask):.4f}, converged: {found.converged}")
spent = errors.memory_mb[mask].sum() / errors.memory_mb.sum()
print(f"measured {mask.mean():.0%} of the entries with {spent:.0%} of the memory")
assert spent < mask.mean()

# %% [markdown]
# ## Two ways to say what was learned
#
# The paper **embeds** each configuration: its entries in the leading singular vectors.  A **belief**
# says more: what error to expect of each configuration on a new task, how far off that may be, and
# how one error tells about another.

# %%
embedding = svd_embedding(errors.values, 5)
belief = learn_belief(errors.values)
print(
    "embedding", embedding.shape, "- expected errors from", belief.mean.min().round(3), "to", belief.mean.max().round(3)
)
after = belief.given([0], [0.5])  # the narrowest configuration did badly on a new task
print("expected of the widest:", belief.mean[98].round(3), "before,", after.mean[98].round(3), "after")
assert (after.deviation <= belief.deviation + 1e-12).all()
