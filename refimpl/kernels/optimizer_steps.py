"""One step of an optimizer over flat float32 vectors, in one pass each.

Every operation is rounded to float32 by itself, in the order of the formulas; nothing is fused, so
that NumPy, told the same, gives the same bits.
"""

import numpy as np

from refimpl.kernels._compiled import compiled


@compiled
def sgd(weights, gradient, velocity, new, update, rate, momentum, decay, first, nesterov):
    """Write new (velocity) and update = -rate * direction; float32 (n,) each, scalars float32.

    d = gradient + decay * weights;  new = d on the first step, else momentum * velocity + d;
    direction = new, or with nesterov d + momentum * new.
    """
    for i in range(weights.size):
        d = gradient[i] + decay * weights[i]
        v = d if first else momentum * velocity[i] + d
        new[i] = v
        update[i] = -(rate * (d + momentum * v if nesterov else v))


@compiled
def adam(
    weights,
    gradient,
    mean,
    square,
    new_mean,
    new_square,
    update,
    rate,
    beta1,
    beta2,
    epsilon,
    decay,
    decoupled,
    correction1,
    correction2,
):
    """Write new mean, new square and update; float32 (n,) each, scalars float32.

    g = gradient + decay * weights (unless decoupled)
    new mean = beta1 * mean + (1 - beta1) * g
    new square = beta2 * square + (1 - beta2) * (g * g)
    update = -(rate / correction1 * new mean / (sqrt(new square) / correction2 + epsilon)),
    and decoupled - rate * decay * weights, with correction1 = 1 - beta1^t and
    correction2 = sqrt(1 - beta2^t) in the t-th step.
    """
    one = np.float32(1)
    step = rate / correction1
    for i in range(weights.size):
        g = gradient[i] if decoupled else gradient[i] + decay * weights[i]
        m = beta1 * mean[i] + (one - beta1) * g
        s = beta2 * square[i] + (one - beta2) * (g * g)
        new_mean[i], new_square[i] = m, s
        change = -(step * m / (np.sqrt(s) / correction2 + epsilon))
        update[i] = change - rate * decay * weights[i] if decoupled else change
