# %% [markdown]
# # Choosing formats by measurement
#
# *Needs [04 integers](04_integers.ipynb) and [06 training in low precision](06_training_in_low_precision.ipynb).
# Next: [12 sixteen bits](12_sixteen_bit_training.ipynb).*
#
# Eight bits can be an integer, or a float with three or two bits of mantissa.  Which is best?
#
# **Claim: it depends on the tails of what is stored, and these can be measured before training.**
# (After Rasquinha and Tabak, *A metric-driven approach to mixed precision*, arXiv 2408.02897.)

# %%
import numpy as np

import refimpl as rf
from refimpl import numerics

# %% [markdown]
# **Every format spends 256 codes, each in its own way.**  Scale a tensor so that its largest magnitude
# just fits.  Integers err by the same *amount* everywhere, so small values suffer; floats err by the
# same *part*, down to their subnormals.

# %%
for name in ("int8", "e4m3fn", "e5m2"):
    magnitude, error = numerics.error_profile(name, octaves=16)
    print(f"{name:<7}", " ".join(f"{e:.3f}" for e in error[::-1][::3]), "  every third octave down")
rf.plots.relative_error()

# %% [markdown]
# **So heavy tails want floats and light tails want integers.**  Multiply matrices drawn from Student's t
# with nu degrees of freedom: the smaller nu, the further the largest value is from the others, and the
# largest sets the scale.  The error of the product is counted in units of $|a|\,|b|$.

# %%
rows = numerics.tail_table(size=128)
error = {(row.nu, row.format): row.backward_error for row in rows}
print("nu        int8     e4m3     e5m2    int8 that became 0")
for row in rows[::3]:
    shown = [error[row.nu, f] for f in numerics.tails.FORMATS]
    print(f"{row.nu:<8g}", " ".join(f"{e:.5f} " for e in shown), f"{row.underflow:>8.0%}")
assert error[np.inf, "int8"] < 0.6 * error[np.inf, "float8_e4m3fn"]  # light tails: INT8
assert error[2, "int8"] > 3 * error[2, "float8_e4m3fn"]  # heavy tails: E4M3
rf.plots.tails(rows)

# %% [markdown]
# **What tails has a real network?**  Train a small transformer to tell from which chapter of Python's
# manual sixteen words come, and record both operands of every product, and the gradient behind it.
# Here are those of the query projection, with the Student t that fits each.

# %%
task = rf.data.load("topics")
adam = {"optimizer": rf.nn.Adam(), "learning_rate": 0.003}


def transformer():
    """A new transformer of one block."""
    return rf.nn.transformer(words=task.words, places=16, classes=task.classes, blocks=1)


candidates = numerics.candidates(["int8", "e4m3", "e5m2"])  # e4m3, e5m2: OCP's, as in the paper
evidence = numerics.measure(transformer(), task, candidates, **adam)
for role in ("left operand", "right operand", "product gradient"):
    fit = evidence.capture.of("query", role).student_t()
    print(f"{role:<17} nu {fit.nu:6.1f}")
assert evidence.capture.of("query", "product gradient").student_t().nu < 10
rf.plots.operands(evidence.capture, "query")

# %% [markdown]
# Weights have no tails, gradients have heavy ones.  **So give each its own format**: the cheapest whose
# error is within a tolerance, and of equally cheap ones the best.

# %%
assignment = numerics.choose(evidence, tolerance=0.01)
print(assignment.counts())
by_role = {}
for choice in assignment.choices:
    by_role.setdefault(choice.role, []).append(choice.candidate.name)
for role, names in by_role.items():
    print(f"{role:<17} int8 {names.count('int8')}, e4m3 {names.count('float8_e4m3fn')}")
assert set(by_role["right operand"]) == {"int8"}
assert "float8_e4m3fn" in by_role["product gradient"]

# %% [markdown]
# **Does it train as well as float32?**  Every operand of every product is rounded, forward and
# backward.  And half of the bits, chosen by no one?

# %%
four = numerics.measure(transformer(), task, numerics.candidates(["int4"]), steps=1, **adam)
results = {
    "float32": numerics.train(transformer, task, None, epochs=2, **adam),
    "as chosen": numerics.train(transformer, task, assignment, epochs=2, **adam),
    "all int4": numerics.train(transformer, task, numerics.uniform(four, 0), epochs=2, **adam),
}
for name, result in results.items():
    print(f"{name:<10} test error {result.test_error:.3f}   training loss {result.loss:.3f}")
assert abs(results["as chosen"].loss - results["float32"].loss) < 0.05
assert results["all int4"].loss > results["as chosen"].loss + 0.05
saved = 1 - assignment.memory().total_mb / assignment.memory(32).total_mb
print(f"memory of the operands: {saved:.0%} less")
rf.plots.assignment(assignment)

# %% [markdown]
# **Would the metric have told us so?**  Train a perceptron in twenty policies, from hopeless to harmless,
# and compare what was measured before with the loss after.

# %%
digits = rf.data.load("digits")
ladder = numerics.measure(rf.nn.mlp(), digits, numerics.candidates(numerics.LADDER), steps=2)
policies = numerics.policies(ladder, 20)
power = {}
for epochs in (2, 4):
    trained = numerics.train_policies(rf.nn.mlp, digits, policies, epochs=epochs)
    power[epochs] = numerics.predictive_power([t.metric for t in trained], [t.loss for t in trained])
    print(f"after {epochs} epochs: {power[epochs]}")
assert power[4].low > 0.3 and power[4].correlation > power[2].correlation
rf.plots.predicted(trained, label="backward error, mean over operands")

# %% [markdown]
# It ranks policies well, not perfectly.  A mean over operands forgets that one hopeless operand is enough
# to spoil a network: see the mixtures above the others.  And it speaks of where training ends, not of how
# fast it gets there: after two epochs, before the loss has settled, it predicts little.

# %% [markdown]
# ## Exercises
#
# 1. Heavy tails want floats, if one scale serves the whole tensor.  And with a scale for each row
#    (`scaling="row"`, nu = 2)?
# 2. Half of the bits: is `int4` or `float4_e2m1fn` better for a Gaussian?  Guess from the first picture.
# 3. Choose for the digits' perceptron at tolerances of 0.003, 0.01 and 0.1.  What is assigned, and why
#    does a tenfold tolerance change nothing?

# %% [markdown]
# ## Solutions
#
# **1.** int8 again: the largest value of a row is not as far from the others of its row.  **Finer scales are another
# cure of tails.**

# %%
by_row = {row.format: row.backward_error for row in numerics.tail_table(nus=[2.0], size=128, scaling="row")}
print({name: round(value, 4) for name, value in by_row.items()})
assert by_row["int8"] < by_row["float8_e4m3fn"]

# %% [markdown]
# **2.** The float, even for a Gaussian.  With so few codes, most values lie in the lowest few steps below the largest,
# and E2M1 is finer there.  **What is true of eight bits need not be true of four: measure.**

# %%
four_bits = numerics.tail_table(nus=[2.0, np.inf], formats=("int4", "float4_e2m1fn"), size=128)
for row in four_bits:
    print(f"{row.format:<14} nu {row.nu:<4g} {row.backward_error:.4f}")
light = {row.format: row.backward_error for row in four_bits if row.nu == np.inf}
assert light["float4_e2m1fn"] < light["int4"]

# %% [markdown]
# **3.** All candidates cost eight bits, so each operand gets the best of those within the tolerance, and the best
# stays the best.  A tolerance that none meets is refused, with the least that would do.

# %%
of_digits = numerics.measure(rf.nn.mlp(), digits, candidates, steps=2)
for tolerance in (0.003, 0.01, 0.1):
    try:
        print(tolerance, numerics.choose(of_digits, tolerance=tolerance).counts())
    except ValueError as error:
        print(tolerance, "refused:", error)

# %% [markdown]
# **Next:** [12 sixteen bits](12_sixteen_bit_training.ipynb), what can be proved, and what breaks.
