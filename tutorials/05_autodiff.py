# %% [markdown]
# # Automatic differentiation, in one sitting
#
# *Needs no other lesson, but derivatives.
# Next: [06 training in low precision](06_training_in_low_precision.ipynb).*
#
# **Claim: a framework that trains networks is a list of derivatives and a walk backwards.**  You
# write the walk in ten lines; the derivatives are checked against the definition of a derivative.

# %%
import numpy as np

import refimpl as rf
from refimpl.autodiff import Tensor, check_gradient, primitive
from refimpl.autodiff import primitives as p
from refimpl.plots.canvas import panels

x = Tensor([3.0, 4.0], requires_grad=True)
y = (x * x).sum()
y.backward()
print("d(x.x)/dx =", x.grad)
assert x.grad.tolist() == [6.0, 8.0]

# %% [markdown]
# A *primitive* says two things side by side: what it computes, and how it carries a gradient back
# (its vector-Jacobian product: given dL/dy it returns dL/dx).


# %%
@primitive
def cube(x):
    return x**3, lambda dy: (dy * 3 * x**2,)


x = Tensor(2.0, requires_grad=True)
cube(x).backward()
print("d(x^3)/dx at 2 =", float(x.grad))
assert float(x.grad) == 12.0

# %% [markdown]
# **Is a derivative right?  Ask its definition.**  Move the input a little along a random direction
# and compare the change with what the backward pass predicts.  In float64, with a step of 1e-5,
# they agree to about ten digits; a derivative that is wrong by one part in a thousand is caught.

# %%
print("relative difference:", check_gradient(cube, np.linspace(-1, 1, 7), seed=0))


@primitive
def wrong_cube(x):
    return x**3, lambda dy: (dy * 3.003 * x**2,)


try:
    check_gradient(wrong_cube, np.linspace(-1, 1, 7), seed=0)
    raise SystemExit("the checker slept")
except AssertionError as complaint:
    print("caught:", str(complaint)[:90], "...")

# %% [markdown]
# **Why 1e-5?**  A long step sees the curve and not its tangent: the error falls with the square of the step.  A short
# one subtracts two numbers that agree in most digits, and what is left is rounding: it *rises* as the step
# falls.  The best step lies where the two meet, near the cube root of 2^-53.

# %%
steps = 10.0 ** np.arange(-11, 0)
off = [check_gradient(p.exp, np.linspace(-1, 1, 7), seed=0, step=h, tolerance=1.0) for h in steps]
best = float(steps[np.argmin(off)])
print(f"best step {best:g}; the cube root of 2^-53 is {2.0 ** (-53 / 3):.1g}")
assert 1e-7 < best < 1e-3 and off[0] > 100 * min(off) and off[-1] > 100 * min(off)

(ax,) = panels(1, 1, size=(5.6, 3.8))
ax.loglog(steps, off, "o-", label="found")
ax.loglog(steps[6:], off[-1] * (steps[6:] / steps[-1]) ** 2, "--", color="0.5", label="square of the step")
ax.loglog(steps[:7], 2.0**-53 / steps[:7], ":", color="0.5", label="2^-53 / step")
ax.set(
    xlabel="step of the difference", ylabel="relative difference of the derivative", title="two errors, one best step"
)
ax.legend(fontsize=8)
ax.figure

# %% [markdown]
# **The walk.**  Every tensor remembers what it was made of.  Going through them newest first, each
# hands its gradient to its parents; gradients that arrive from two sides add up.


# %%
def walk(root):
    """What Tensor.backward does, without the housekeeping."""
    order, seen = [], set()

    def visit(node):
        if id(node) not in seen:
            seen.add(id(node))
            for parent in node._parents:
                visit(parent)
            order.append(node)

    visit(root)
    gradients = {id(root): np.ones_like(root.data)}
    for node in reversed(order):
        if node._vjp is not None:
            for parent, dx in zip(node._parents, node._vjp(gradients[id(node)]), strict=True):
                gradients[id(parent)] = gradients.get(id(parent), 0) + dx
    return gradients


a = Tensor(np.array([1.0, 2.0]), requires_grad=True)
loss = (p.exp(a) * a + a).sum()
by_hand = walk(loss)[id(a)]
loss.backward()
assert np.array_equal(by_hand, a.grad)
print("d(sum(a e^a + a))/da =", by_hand)

# %% [markdown]
# **Rounding has no useful derivative**: it is flat almost everywhere.  Training pretends that the
# derivative is 1 (the straight-through estimator), and may round the gradient too.  This one line is
# all that low-precision training adds to automatic differentiation.

# %%
x = Tensor(np.array([0.30, 1.06], np.float32), requires_grad=True)
y = p.rounded(x, forward=lambda v: rf.quantize(v, "e4m3"), backward=lambda dy: rf.quantize(dy, "e5m2"))
(y * np.array([1.3, -0.7], np.float32)).sum().backward()
print("values", y.data, "gradients", x.grad)
assert y.data.tolist() == [0.3125, 1.0] and x.grad.tolist() == [1.25, -0.75]

# %% [markdown]
# **A network is nothing more.**  Two matrices, a ReLU, a loss; gradient descent on real handwriting.

# %%
task = rf.data.load("digits")
rng = np.random.default_rng(0)
w1 = Tensor((rng.standard_normal((64, 32)) / 8).astype(np.float32), requires_grad=True)
w2 = Tensor((rng.standard_normal((32, 10)) / 6).astype(np.float32), requires_grad=True)
images = task.train_images.reshape(-1, 64)

for step in range(150):
    logits = p.relu(Tensor(images) @ w1) @ w2
    loss = p.cross_entropy(logits, labels=task.train_labels)
    loss.backward()
    for w in (w1, w2):
        w.data = w.data - np.float32(0.5) * w.grad
        w.grad = None
    if step % 50 == 0 or step == 149:
        print(f"step {step:3}   loss {float(loss.data):.3f}")

guess = (p.relu(Tensor(task.test_images.reshape(-1, 64)) @ w1) @ w2).data.argmax(axis=1)
error = np.mean(guess != task.test_labels)
print(f"test error {error:.3f}")
assert error < 0.15

# %% [markdown]
# ## Exercises
#
# 1. Write the primitive `root`, the square root, with its derivative, and let the checker judge it.
# 2. Round both weights to E4M3 in the forward pass (`p.rounded`, gradients unrounded), and train the network
#    again.  Does it still learn?
# 3. Now be strict and use the true derivative of rounding.  What happens, and what do the gradients say?

# %% [markdown]
# ## Solutions
#
# **1.** The derivative of the root is 1 / (2 root).


# %%
@primitive
def root(x):
    y = np.sqrt(x)
    return y, lambda dy: (dy / (2 * y),)


assert check_gradient(root, np.linspace(1, 2, 7), seed=0) < 1e-8

# %% [markdown]
# **2.** It learns as well as before: what is rounded is a copy, and `w` itself stays in float32.  **3.** Nothing is
# learned at all.  The true derivative of a staircase is zero, and a gradient of zero moves nothing.


# %%
def train(backward, steps=150):
    """Return the test error of the same network, its weights rounded to E4M3."""
    rng = np.random.default_rng(0)
    shapes = ((64, 32, 8), (32, 10, 6))
    weights = [Tensor((rng.standard_normal((n, m)) / by).astype(np.float32), requires_grad=True) for n, m, by in shapes]

    def forward(x):
        first, second = (p.rounded(w, forward=lambda v: rf.quantize(v, "e4m3"), backward=backward) for w in weights)
        return p.relu(Tensor(x) @ first) @ second

    for _ in range(steps):
        p.cross_entropy(forward(images), labels=task.train_labels).backward()
        for w in weights:
            w.data, w.grad = w.data - np.float32(0.5) * w.grad, None
    return np.mean(forward(task.test_images.reshape(-1, 64)).data.argmax(axis=1) != task.test_labels)


through, strict = train(lambda dy: dy), train(lambda dy: 0 * dy)
print(f"test error: straight through {through:.3f}, by the true derivative {strict:.3f}, in float32 {error:.3f}")
assert through < 0.15 < 0.5 < strict

# %% [markdown]
# **Next:** [06 training in low precision](06_training_in_low_precision.ipynb), the same walk, in eight bits.
