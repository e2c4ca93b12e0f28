# %% [markdown]
# # Trainings that happen elsewhere
#
# *Needs [00 which precision should I buy?](00_which_precision_to_buy.ipynb).
# Next: [10 validate your own quantizer](10_validate_your_own.ipynb).*
#
# Your trainings take days, on machines that know nothing of this package, and end in a perplexity.  You have a table
# of what you trained before.  **Claim: that is enough.  A `Study` of the table is asked what to train next, told
# what came out, and says what to pick, in any unit and with any names.**

# %%
import contextlib
import csv
import io
import tempfile
from pathlib import Path

import numpy as np

import refimpl as rf
from refimpl.__main__ import main
from refimpl.plots.canvas import panels

# %% [markdown]
# ## A table
#
# Twelve language models, each made small by some recipes; in the first line what a recipe costs, here bytes for a
# parameter.  Nothing stands where nothing was trained.  (The numbers are made up, as such tables are: integers
# suffer where a model has outliers, floats of few bits lose a little everywhere.)

# %%
TABLE = """\
model,bf16,fp8 row,fp8 tensor,int8 row,int8 tensor,fp6,int6,fp4 by 16,fp4 by 32,int4 by 16,int4 by 32,int3 by 16
cost,2,1.04,1,1.03,.99,.78,.77,.56,.53,.55,.52,.42
aster,9.49,9.52,9.74,9.65,9.75,9.94,9.93,11.5,12.4,10.7,11.7,16.2
beech,11.3,11.5,11.4,11.6,12.1,11.8,12,12.8,13,12.7,13.3,15.8
cedar,24,24.5,24.9,24.1,24.2,27.2,25.4,35.5,41.8,29,31.7,
daisy,15.8,16.2,15.9,15.9,15.9,15.9,16.1,17.2,17.8,17.3,17,19.9
elder,6.27,6.44,6.43,6.33,6.6,6.75,6.83,8.2,9.12,7.46,8.04,12.7
fern,12.2,12.3,12.4,12.3,12.7,,12.8,14.3,14.7,13.4,13.7,18.2
gorse,9.5,9.77,10.2,11.1,14.5,10.3,13.9,11.2,12.6,15.4,19.2,25.8
hazel,12.9,13.4,13.5,13,13.2,13.6,13.6,14.7,15.4,14.1,14.4,17.9
iris,6.45,6.4,6.51,6.44,7.09,6.82,7.02,7.5,7.88,7.55,8.06,10.3
juniper,13.3,13.6,13.7,13.6,13.8,14.1,14.1,16.2,17.3,14.9,15.6,21.7
kale,13.4,13.5,13.7,13.9,15,14.1,15.2,16,16.4,15.9,17.5,23
lilac,22.8,23.3,24.5,24.7,27.4,25.5,28.1,32.1,35.1,31.5,35.5,61.5
"""
(_, *recipes), costs, *models = csv.reader(TABLE.splitlines())
cost = dict(zip(recipes, map(float, costs[1:]), strict=True))
earlier = np.array([[float(cell or "nan") for cell in row] for _, *row in models])
print(f"{len(earlier)} models x {len(recipes)} recipes, {np.isnan(earlier).sum()} not trained")

# %% [markdown]
# Now comes a new model, and you have 0.6 bytes for a parameter.  What would you take?  **By the table alone, what
# was best on average.**

# %%
on_average = dict(zip(recipes, np.exp(np.nanmean(np.log(earlier), axis=0)), strict=True))
small = [name for name in recipes if cost[name] <= 0.6]
habit = min(small, key=on_average.get)
print("on average:", ", ".join(f"{name} {on_average[name]:.1f}" for name in small))
print("by habit:", habit)

# %% [markdown]
# ## Ask and tell
#
# Elsewhere, somewhere, the new model can be trained.  Here that is a dictionary; you would send a mail, and wait.

# %%
ELSEWHERE = dict(zip(recipes, (10.1, 10.2, 10.2, 11.6, 14.5, 10.7, 13.8, 12.3, 13.2, 15.7, 18.3, 25.9), strict=True))

# %% [markdown]
# `losses=True` says that numbers may be any from 0 on, less is better, and ratios matter.  What you know already goes
# in at the start: bf16 is trained anyway.  Then ask, train, tell.

# %%
study = rf.peppp.Study(earlier, cost, names=recipes, losses=True, measurements=4, measured={"bf16": ELSEWHERE["bf16"]})
asked = []
while (suggested := study.suggest()) is not None:
    print(f"{study.count + 1} of 4: train {suggested.name}; {suggested.why}")
    study.observe(suggested.name, ELSEWHERE[suggested.name])
    asked.append(suggested.name)

# %% [markdown]
# ## What to pick
#
# Three trainings have told how much this model minds integers, which the table alone could not know.  **The pick is
# not the habit, and it was never trained.**

# %%
estimate = study.estimate()
low, high = estimate.band
for i, name in enumerate(recipes):
    kind = "trained  " if i in estimate.chosen else "predicted"
    print(f"{name:<12} {kind} {estimate.error[i]:5.1f} ({low[i]:.1f} to {high[i]:.1f})   truth {ELSEWHERE[name]}")
pick = study.recommend(cap=0.6)
print(f"within 0.6: {pick}, which comes to {ELSEWHERE[pick]}; the habit, {habit}, to {ELSEWHERE[habit]}")
for cap in (0.8, 1.05):  # the same knowledge answers other caps
    print(f"within {cap}: {study.recommend(cap=cap)}")
assert pick not in asked and ELSEWHERE[pick] == min(ELSEWHERE[name] for name in small)
assert ELSEWHERE[pick] < 0.9 * ELSEWHERE[habit]

(ax,) = panels(1, 1, size=(7, 4.5))
x, truth = np.array(list(cost.values())), list(ELSEWHERE.values())
trained = estimate.chosen
predicted = np.setdiff1d(np.arange(len(recipes)), trained)
spread = np.abs(np.array(estimate.band) - estimate.error)[:, predicted]
ax.errorbar(
    x[predicted], estimate.error[predicted], spread, fmt="o", mfc="none", capsize=3, label="predicted, with band"
)
ax.plot(x[trained], estimate.error[trained], "s", mfc="none", color="#e08214", ms=9, label="trained")
ax.plot(x, truth, "kx", ms=5, label="truth")
ax.axvline(0.6, color="0.5", ls="--", lw=1, label="what you have")
ax.annotate(pick, (cost[pick], ELSEWHERE[pick]), (-8, -12), textcoords="offset points", ha="right")
ax.annotate(habit, (cost[habit], ELSEWHERE[habit]), (-8, 6), textcoords="offset points", ha="right")
ax.set(xlabel="bytes for a parameter", ylabel="perplexity", xlim=(0.25, None))
ax.legend(fontsize=8)
ax.figure

# %% [markdown]
# ## The same without Python
#
# Keep the table as a CSV file, with a line for the new model.  **`refimpl next TABLE.csv` says what to train next, and
# `--observe` writes into the file what came out.**


# %%
def said(*words):
    """Run the command and return what it prints."""
    with contextlib.redirect_stdout(io.StringIO()) as out:
        assert main(["next", *words, "--losses", "--measurements", "4"]) == 0
    return out.getvalue()


with tempfile.TemporaryDirectory() as directory:
    path = Path(directory) / "models.csv"
    path.write_text(TABLE + "mine,10.1" + "," * (len(recipes) - 1) + "\n", encoding="utf-8")
    first = said(str(path))
    second = said(str(path), "--observe", f"{asked[0]}={ELSEWHERE[asked[0]]}")
    line = path.read_text(encoding="utf-8").splitlines()[-1]
print(first.partition("\n\ntrain next")[0])
print("...", *second.splitlines()[-3:], "", "the new line of the file:", line, sep="\n")
assert f"train next: {asked[0]}" in first and f"train next: {asked[1]}" in second
assert str(ELSEWHERE[asked[0]]) in line.split(",")

# %% [markdown]
# A table of pandas goes in as it is, and `study.estimate().to_frame()` comes out as one.

# %% [markdown]
# ## Exercises
#
# 1. Let the new model have no outliers: give it `aster`'s numbers times 0.9.  What is picked within 0.6 bytes?
# 2. Learn from the first six earlier models alone, and then from three.  Does the pick of the first model change?  What
#    do the bands say?
# 3. Your trainings are noisy: each came out 5 % too high or too low, by the toss of a coin.  Is the pick still good?

# %% [markdown]
# ## Solutions


# %%
def picked(table, elsewhere, cap=0.6):
    """Ask, train elsewhere, tell; return what is picked and how wide its band is."""
    study = rf.peppp.Study(
        table, cost, names=recipes, losses=True, measurements=4, measured={"bf16": elsewhere["bf16"]}
    )
    while (suggested := study.suggest()) is not None:
        study.observe(suggested.name, elsewhere[suggested.name])
    name = study.recommend(cap=cap)
    estimate = study.estimate()
    low, high = (end[recipes.index(name)] for end in estimate.band)
    return name, high / low


# %% [markdown]
# **1.** The habit is right for a model like the others.

# %%
tame = dict(zip(recipes, 0.9 * earlier[0], strict=True))
name, _ = picked(earlier, tame)
print("picked:", name)
assert tame[name] <= 1.02 * min(tame[n] for n in small)

# %% [markdown]
# **2.** It does.  None of the first six models minds integers, so six models know nothing of such a thing, and are
# sure of it: `int4`.  Three say themselves that they know little.  **A table can tell only of what is in it.**

# %%
names, widths = zip(*(picked(earlier[:models], ELSEWHERE) for models in (12, 6, 3)), strict=True)
for models, name, width in zip((12, 6, 3), names, widths, strict=True):
    print(f"from {models:2} models: {name}, the band's upper end {width:.1f} times its lower; truth {ELSEWHERE[name]}")
assert names[0] == pick and names[1] == habit and widths[2] > 5

# %% [markdown]
# **3.** Five percent is far less than what tells recipes apart here.

# %%
coin = np.random.default_rng(0).choice([0.95, 1.05], len(recipes))
noisy = {name: ELSEWHERE[name] * by for name, by in zip(recipes, coin, strict=True)}
name, _ = picked(earlier, noisy)
print("picked:", name, "truth", ELSEWHERE[name])
assert ELSEWHERE[name] < 0.9 * ELSEWHERE[habit]

# %% [markdown]
# **Next:** [10 validate your own quantizer](10_validate_your_own.ipynb), hold your own code to the definitions.
