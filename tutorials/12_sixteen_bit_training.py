# %% [markdown]
# # Sixteen bits: what is certain, what goes wrong, and three cures
#
# *Needs [06 training in low precision](06_training_in_low_precision.ipynb).
# Next: [13 sums of machines](13_sums_of_machines.ipynb).*
#
# **Claim: a network rounded to sixteen bits answers as it did in thirty-two, and for most images
# that can be proved without running it.**  Training in sixteen bits alone works as well, once three
# things are seen to: lost updates, Adam's epsilon, and batch norm's variance.

# %%
import numpy as np

import refimpl as rf
from refimpl.autodiff import Tensor
from refimpl.nn.rounder import Rounder
from refimpl.numerics import certify, sixteen_bit

task = rf.data.load("digits")
float16, bfloat16 = (rf.nn.preset("pure16", name) for name in ("float16", "bfloat16"))
mlp = rf.nn.fit(rf.nn.mlp(), task, seed=0).model
cnn = rf.nn.fit(rf.nn.cnn(), task, seed=0).model

# %% [markdown]
# **When can rounding change an answer?**  Let a network return probabilities.  Its *tolerance*
# $\Gamma$ for an image is by how much the first class leads the second; the *floating-point error*
# $\delta$ is by how much rounding moves any probability.  The first can lose at most $\delta$ and
# the second gain at most $\delta$: if $\Gamma > 2\delta$, the answer stands.
#
# There are two ways to know $\delta$.  *Measure* it, by running both networks: then you know about
# these images.  Or *bound* it, by adding up the most that every single rounding could do to the
# result: then you know without having run anything, for every order in which a machine may sum.

# %%
for name, model in (("MLP", mlp), ("CNN", cnn)):
    for policy in (float16, bfloat16):
        found = certify(model, task.test_images, policy)
        print(
            f"{name} in {policy.low}: proved {found.proved.mean():6.1%}   by measured error "
            f"{found.observed.mean():6.1%}   same class {found.same.mean():6.1%}"
        )
        assert (found.delta <= found.bound).all()  # a bound is a bound
        assert found.same[found.proved].all() and found.same[found.observed].all()

found = certify(cnn, task.test_images, bfloat16)
rf.plots.certificate(found, title="CNN on digits, in bfloat16: an image is two marks")

# %% [markdown]
# In the shaded part nothing can happen.  Almost all measured errors lie there, and most bounds, which
# lie some tens of times higher: a bound believes that all roundings conspire.  **The price of a proof
# grows with depth**, as there are more of them to conspire.

# %%
tightness = []
for hidden in (1, 2, 3, 4):
    deep = rf.nn.fit(rf.nn.mlp(widths=(64,) * hidden), task, seed=0).model
    found = certify(deep, task.test_images, float16, outputs="logits")
    tightness.append(found.tightness)
    print(
        f"{hidden} hidden layers: proved {found.proved.mean():.1%}, the bound is {found.tightness:.0f} times the error"
    )
assert tightness == sorted(tightness)

# %% [markdown]
# **And where the lemma is silent, does anything happen?**  In float16 one digit of the test set does
# change its class.  It is one that float32 could hardly decide.

# %%
found = certify(mlp, task.test_images, float16)
for i in np.flatnonzero(~found.same):
    place = int((found.gamma < found.gamma[i]).sum()) + 1
    print(
        f"image {i}: tolerance {found.gamma[i]:.5f}, error {found.delta[i]:.5f}, "
        f"number {place} of {len(found.gamma)} in order of tolerance"
    )
    assert found.gamma[i] <= 2 * found.delta[i]

# %% [markdown]
# ## Lost updates
#
# So much for answering.  **Learning in bfloat16 stops early**: an update less than half a step
# between two numbers is rounded away.  Let a weight descend to 1.37 on a parabola: the closer it
# comes, the smaller its updates, and at some distance it can only stand still.  The smaller the learning
# rate, the farther off that is.
#
# That distance can be computed beforehand.  Inside the *halting radius*, the shaded band of the picture, no update to
# nearest moves the weight; so, coming from outside, **it stops before it enters**.  Here it stops far before: just
# above 2, the gaps between numbers are as wide as they get for their size, and the radius counts with the narrowest.
#
# Two cures: round updates *stochastically*, so that one of many small updates counts as a large one; or
# keep what rounding took and give it back next time, as *Kahan* does.

# %%
BEST = np.float32(rf.quantize(1.37, "bfloat16"))


def descend(update, rate=0.01, steps=1200):
    """The weight after each step of (w - BEST)^2 / 2, everything in bfloat16."""
    weight = Tensor(np.array([3.0], np.float32), requires_grad=True)
    rule = rf.nn.SGD(momentum=0, weight_decay=0, update=update)
    running, path = rule.start([("0", "weight", weight)], Rounder(bfloat16, 0)), []
    for _ in range(steps):
        running.step(rate, running.weights - BEST, 1.0)
        path.append(float(running.weights[0]))
    return path


paths = {"to nearest": descend("plain"), "stochastic": descend("stochastic"), "Kahan": descend("kahan")}
radius = sixteen_bit.halting_radius(0.01, 1.37)
for name, path in paths.items():
    print(f"{name:<11} stops {abs(path[-1] - BEST):.3f} from the best weight (radius {radius:.3f})")
off = {name: abs(path[-1] - float(BEST)) for name, path in paths.items()}
assert off["to nearest"] > radius > 2 * max(off["stochastic"], off["Kahan"])

rf.plots.weight_paths(paths, target=float(BEST), radius=radius, title="descending to 1.37 in bfloat16, rate 0.01")

# %% [markdown]
# ## Adam's epsilon
#
# Adam divides by $\sqrt{v} + \epsilon$, where $v$ is a mean of squared gradients.  **In float16 the
# square of a gradient below $2^{-12.5}$ is zero, and so is the customary $\epsilon = 10^{-8}$.**  What is
# divided by zero is a gradient.

# %%
for epsilon in (1e-3, 1e-7, 1e-8):
    step = sixteen_bit.first_adam_step(1e-4, "float16", epsilon=epsilon)
    held = sixteen_bit.in_format(rf.nn.Adam(epsilon=epsilon), "float16").epsilon
    print(f"epsilon {epsilon:g} is {held:.4g} in float16; first step {step:.3g} times the rate")
assert np.isinf(step) and np.isnan(sixteen_bit.first_adam_step(0.0, "float16"))


def adam(policy, **constants):
    """Train by Adam, its constants too in the policy's format."""
    rule = sixteen_bit.in_format(rf.nn.Adam(**constants), policy.low)
    return rf.nn.fit(rf.nn.mlp(), task, precision=policy, optimizer=rule, learning_rate=0.002, epochs=5)


lost, cured = adam(float16, epsilon=1e-8), adam(float16, epsilon=1e-3)
print(f"epsilon 1e-8: diverged {lost.diverged};   1e-3: test error {cured.test_error:.3f}")
assert lost.diverged and cured.test_error < 0.08

# %% [markdown]
# **In bfloat16 it is another constant that breaks.**  Its range is wide, so epsilon is safe; but its
# digits are few, and $\beta_2 = 0.999$ is rounded to 1.  Then $v$ never learns of any gradient.

# %%
print("beta2 in bfloat16:", sixteen_bit.in_format(rf.nn.Adam(), "bfloat16").beta2)
lost, cured = adam(bfloat16), adam(bfloat16, beta2=0.99)
print(f"beta2 0.999: diverged {lost.diverged};   0.99: test error {cured.test_error:.3f}")
assert lost.diverged and cured.test_error < 0.08

# %% [markdown]
# ## Batch norm's variance
#
# Batch norm should not care for the scale of its input.  **In float16 it works for deviations
# between about 0.01 and 10**: below, squares vanish; above, their sum is
# infinite.  With statistics in float32 and everything else in float16, it is itself again.

# %%
x = np.random.default_rng(0).standard_normal((256, 1))


def off_by(scale, **how):
    """Largest error of a normalized number."""
    y = np.asarray(rf.quantize(x * scale, "float16"))
    exact = (y - y.mean()) / y.std()
    return np.abs(sixteen_bit.batch_norm(y, "float16", epsilon=0.0, **how) - exact).max()


for scale in (1e-4, 1e-2, 1.0, 10.0, 100.0, 1000.0):
    narrow, wide = off_by(scale), off_by(scale, statistics="float32")
    print(f"deviation {scale:<7g} off by {narrow:8.3g} in float16,{wide:8.3g} with float32 statistics")
    assert wide < 0.01 and (narrow < 0.02) == (0.01 <= scale <= 10)

# %% [markdown]
# ## And then it works
#
# The same three seeds in float32, in float16 alone, and in float32 for five epochs and float16 from
# there: **the differences are no larger than those between seeds.**

# %%
ways = {
    "float32": {},
    "float16 alone": {"precision": float16},
    "float32, then float16": {"precision": rf.nn.preset("float32"), "switch": (5, float16)},
}
errors = {
    name: np.array([rf.nn.fit(rf.nn.cnn(), task, seed=s, **how).test_error for s in range(3)])
    for name, how in ways.items()
}
for name, found in errors.items():
    print(f"{name:<22} test error {found.mean():.3f}   seeds {np.round(found, 3)}")
    assert abs(found.mean() - errors["float32"].mean()) < 0.015

# %% [markdown]
# ## Exercises
#
# 1. How many mantissa bits does it take to *prove* the class of 90 % of the test images, for the perceptron?  Try
#    `e8m4` to `e8m13` by threes.
# 2. The halting radius grows as the learning rate falls.  Compute it for 0.1 and 0.001, and let a weight descend with
#    each in bfloat16.  Where does it stop?
# 3. Batch norm failed in float16 for want of range.  Does bfloat16, with float32's range, cure it?  At what price?

# %% [markdown]
# ## Solutions
#
# **1.** Seven, bfloat16's, are enough.

# %%
proved = {m: certify(mlp, task.test_images, rf.nn.preset("pure16", f"e8m{m}")).proved.mean() for m in (4, 7, 10, 13)}
print({f"e8m{m}": f"{part:.1%}" for m, part in proved.items()})
assert proved[4] < 0.9 < proved[7] <= proved[10] <= proved[13]

# %% [markdown]
# **2.** Outside the radius, both times; at 0.001 it does not make a single step.  **A smaller learning rate is a
# coarser one**, once updates are lost.

# %%
for rate in (0.1, 0.001):
    away = abs(descend("plain", rate)[-1] - float(BEST))
    print(f"rate {rate:g}: radius {sixteen_bit.halting_radius(rate, 1.37):.3f}, stopped {away:.3f} away")
    assert away > 0.9 * sixteen_bit.halting_radius(rate, 1.37)

# %% [markdown]
# **3.** It does, at every scale.  The price is digits: its error is ten times that of float16 where float16 works.


# %%
def off_in(fmt, scale):
    """Return the largest error of batch norm in a format."""
    y = (np.random.default_rng(0).standard_normal((256, 8)) * scale).astype(np.float32)
    exact = (y.astype(float) - y.mean(axis=0)) / y.std(axis=0)
    return np.abs(sixteen_bit.batch_norm(y, fmt, epsilon=0.0) - exact).max()


for scale in (1e-4, 1.0, 1000.0):
    print(f"deviation {scale:<7g} off by {off_in('float16', scale):8.3g} in float16, {off_in('bfloat16', scale):.3g}")
    assert off_in("bfloat16", scale) < 0.3
assert off_in("bfloat16", 1.0) > 5 * off_in("float16", 1.0)

# %% [markdown]
# **Next:** [13 sums of machines](13_sums_of_machines.ipynb).
