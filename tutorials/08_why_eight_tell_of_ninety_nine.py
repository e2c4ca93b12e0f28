# %% [markdown]
# # Why eight trainings tell of ninety-nine
#
# *Needs [00 which precision should I buy?](00_which_precision_to_buy.ipynb).
# Next: [09 trainings elsewhere](09_trainings_elsewhere.ipynb).*
#
# Train many tasks in many precisions and write the test errors into a table, tasks down, precisions
# across.  **Claim: the table is a few patterns and luck.  Eight trainings find out how much of each pattern
# a new task has, and training all ninety-nine once hardly tells more, for the rest is luck.**

# %%
import numpy as np

import refimpl as rf
from refimpl.peppp.estimators.design import d_optimal, design_value, random_design, relaxed_design
from refimpl.peppp.estimators.embedding import svd_embedding
from refimpl.peppp.shipped import family
from refimpl.plots.canvas import panels

errors = rf.peppp.meta_training(rf.data.load("digits"))
print(errors.repeats.shape, "trainings: seeds, tasks, precisions")
print("a task:", errors.rows[0])
print("a precision:", errors.columns[57])

# %% [markdown]
# ## What repeats, and what is luck
#
# Some tasks are hard and some precisions coarse; no one needs a measurement to know that.  Take both out, the
# mean of each task and the mean of each precision.  What is left is what is *special* to a task in a
# precision: all that measuring a new task can teach.  **Train everything again from another seed: what is
# knowledge comes again, what is luck does not.**


# %%
def special(table):
    """Take out the mean of each task and of each precision."""
    return table - table.mean(axis=1, keepdims=True) - table.mean(axis=0) + table.mean()


first, second, third = (special(trained) for trained in errors.repeats)
again = np.corrcoef(first.ravel(), second.ravel())[0, 1]
luck = (first - second).std() / np.sqrt(2)
print(f"special part {first.std():.3f}, of it luck {luck:.3f}; correlation between two seeds {again:.2f}")
assert again > 0.7

# %% [markdown]
# ## A few patterns
#
# The singular value decomposition finds the patterns in order of size.  Learn some of them from one seed, and
# ask how far they are from the other.  **Three patterns serve best.**  More of them fit their own
# seed ever better, and the other one worse: they learn its luck by heart.

# %%
u, sigma, v = np.linalg.svd(first, full_matrices=False)
counts = range(16)
learned = [(u[:, :k] * sigma[:k]) @ v[:k] for k in counts]
own, other = ([np.sqrt(np.mean((guess - seed) ** 2)) for guess in learned] for seed in (first, second))
best = int(np.argmin(other))
for k in (0, 1, best, 15):
    print(f"{k:2} patterns: {own[k]:.3f} from the seed they were learned from, {other[k]:.3f} from another")
assert 1 <= best <= 6 and other[15] > other[best]

scatter, curve = panels(1, 2, size=(10, 4.2))
scatter.plot(first.ravel(), second.ravel(), ".", ms=2, alpha=0.5)
scatter.axline((0, 0), slope=1, color="k", lw=0.8)
scatter.set(xlabel="special part, seed 0", ylabel="special part, seed 1", title=f"correlation {again:.2f}")
curve.plot(counts, own, "o--", label="from the seed they were learned from")
curve.plot(counts, other, "s-", label="from another seed")
curve.axhline(luck, color="0.5", lw=0.8, ls=":", label="luck of one training")
curve.set(
    xlabel="patterns", ylabel="distance (root mean square)", ylim=(0, None), title="patterns learn, then memorize"
)
curve.legend(fontsize=8)
curve.figure

# %% [markdown]
# ## Which eight?
#
# A precision is known by its entries in the patterns: its *embedding*.  To find a task's mixture, measure
# precisions whose embeddings point in different directions.  D-optimal design (the paper's choice) makes the
# volume they span large, one after the other; a convex relaxation proves how little better the best eight can be.

# %%
embedding = svd_embedding(errors.values, 5)
chosen, drawn = d_optimal(embedding, 8), random_design(99, 8, seed=0)
volume, by_chance = (np.exp(design_value(embedding, design) / 5) for design in (chosen, drawn))
bound = np.exp(relaxed_design(embedding, 8).bound / 5)
print("chosen:", *(errors.columns[i] for i in chosen))
print(f"volume, a direction: drawn by lot {by_chance:.4f}, chosen {volume:.4f}, none has more than {bound:.4f}")
assert by_chance < volume <= bound

# %% [markdown]
# ## One task
#
# Take a task unlike all others, text read by a transformer, and forget it.  A `Study` of the other tasks is asked
# what to measure, and told what came out from seed 0.  **After eight answers its predictions are three times
# closer** to what the *other* seeds came to.

# %%
task = [family(row) for row in errors.rows].index("topics")
study = rf.peppp.Study(errors.select(rows=[row for i, row in enumerate(errors.rows) if i != task]))
truth = errors.repeats[1:, task].mean(axis=0)
before = np.delete(errors.values, task, axis=0).mean(axis=0)
while (asked := study.suggest()) is not None:
    study.observe(asked.name, errors.repeats[0, task, errors.columns.index(asked.name)])
after = study.estimate()
far = [np.sqrt(np.mean((guess - truth) ** 2)) for guess in (before, after.error)]
print(f"away: the mean of the other tasks {far[0]:.3f}, predictions {far[1]:.3f}, {far[0] / far[1]:.1f} times closer")
assert far[1] < far[0] / 2

(ax,) = panels(1, 1, size=(5.6, 4.6))
ax.plot(truth, before, "x", color="0.6", label="mean of the other tasks")
ax.plot(truth, after.error, "o", mfc="none", label="after eight trainings")
ax.plot(truth[after.chosen], after.error[after.chosen], "s", color="#e08214", label="the eight")
ax.axline((truth.mean(), truth.mean()), slope=1, color="k", lw=0.8)
ax.set(xlabel="test error, mean of two other seeds", ylabel="predicted", title="text, a transformer")
ax.legend(fontsize=8)
ax.figure

# %% [markdown]
# ## All tasks, each forgotten in turn
#
# With a task, all made from the same images are forgotten.  Seed 0 is measured, the others judge.  *Relative error*
# says how far predictions are off, in the median task.  *Budget regret* says how much worse what one would buy is
# than the best, on average over all memory caps; the difference is given with its standard error.

# %%
groups = [family(row) for row in errors.rows]
scores = {
    method: rf.peppp.leave_one_out(errors, n_measurements=8, method=method, groups=groups)
    for method in ("mean-row", "ed-mf", "knowledge-gradient", "everything-once")
}
nothing, all_once = scores["mean-row"], scores["everything-once"]
for method, found in scores.items():
    off, regret = np.median(found["relative_error"]), found["budget_regret"]
    less, error = rf.peppp.paired_difference(regret, nothing["budget_regret"])
    print(
        f"{method:<20} relative error {off:.2f}   budget regret {regret.mean():.4f}, "
        f"less the mean row's {less:+.4f} ({error:.4f})"
    )
eight = scores["knowledge-gradient"]
assert np.median(eight["relative_error"]) < np.median(nothing["relative_error"]) / 2
assert abs(np.subtract(*(s["budget_regret"].mean() for s in (eight, all_once)))) < 0.006

# %% [markdown]
# Read it with care.  **Of how well precisions do, eight trainings tell nearly as much as ninety-nine** (the paper's
# `ed-mf`, the default `knowledge-gradient`), and the mean of other tasks, `mean-row`, next to nothing.  *What to
# buy* is another question: most tasks want much the same, so the mean row buys nearly as well on average, within
# the standard error, and training everything once buys no better, misled by luck.  Measuring protects those whose
# task is unlike the others:

# %%
print(f"budget regret of the text: {nothing['budget_regret'][task]:.3f} by the mean row, ", end="")
print(f"{eight['budget_regret'][task]:.3f} after eight trainings")
assert eight["budget_regret"][task] < nothing["budget_regret"][task]

# %% [markdown]
# ## Exercises
#
# 1. Is the special part of the *good* precisions luck?  Keep the fifty columns with the least mean error, and compare
#    two seeds again.
# 2. Is a new *network* harder to tell than new images?  Forget rows by network,
#    `row.partition("model=")[2].split(",")[0]`, and not by images.
# 3. What do two trainings tell, and four?

# %% [markdown]
# ## Solutions
#
# **1.** No: it comes again as well, but it is about half as large.

# %%
good = np.argsort(errors.values.mean(axis=0))[:50]
one, two, _ = (special(trained[:, good]) for trained in errors.repeats)
print(
    f"special part {one.std():.3f}, of it luck {(one - two).std() / np.sqrt(2):.3f}; "
    f"correlation {np.corrcoef(one.ravel(), two.ravel())[0, 1]:.2f}"
)
assert one.std() < first.std() and np.corrcoef(one.ravel(), two.ravel())[0, 1] > 0.5

# %% [markdown]
# **2.** Somewhat.  With a network all that was known of its kind is forgotten.

# %%
networks = [row.partition("model=")[2].split(",")[0] for row in errors.rows]
new = rf.peppp.leave_one_out(errors, n_measurements=8, method="knowledge-gradient", groups=networks)
off = {"new images": np.median(eight["relative_error"]), "new network": np.median(new["relative_error"])}
print({what: f"{error:.3f}" for what, error in off.items()})
assert off["new images"] < off["new network"]

# %% [markdown]
# **3.** Most of it.  **The first few measurements tell most; each further one less.**

# %%
few = [rf.peppp.leave_one_out(errors, n_measurements=n, groups=groups) for n in (2, 4)]
told = [np.median(found["relative_error"]) for found in (nothing, *few, eight)]
print("relative error after none, two, four, eight:", np.round(told, 2))
assert told == sorted(told, reverse=True) and told[0] - told[1] > told[2] - told[3]

# %% [markdown]
# **Next:** [09 trainings elsewhere](09_trainings_elsewhere.ipynb), the same with results of your own.
