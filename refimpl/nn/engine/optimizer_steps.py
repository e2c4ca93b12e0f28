"""One step of an optimizer over flat float32 vectors, in one pass each.

Every operation is rounded to float32 by itself, in the order of the formulas; nothing is fused, so
that NumPy, told the same, gives the same bits.
"""

import numpy as np

from refimpl.kernels._compiled import compiled
from refimpl.nn.engine.rounding import CHUNK, call_round_part


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


@compiled
def sgd_and_round(
    gradient,
    master,
    weights,
    velocity,
    unscale,
    unscale_first,
    rate,
    momentum,
    decay,
    first,
    nesterov,
    gradient_site,
    master_site,
    weight_site,
    velocity_site,
    noise,
    round,
):
    """Take a step of `sgd` with its roundings, in one pass.

    The gradient (overwritten) is multiplied by `unscale` before its rounding, or after it.  Sites, noise and
    round are those of `refimpl.nn.engine.rounding`.
    """
    scratch = np.empty((3, min(CHUNK, gradient.size)), np.float32)
    for start in range(0, gradient.size, CHUNK):
        end = min(start + CHUNK, gradient.size)
        g, m, v, w = gradient[start:end], master[start:end], velocity[start:end], weights[start:end]
        rounded, new, update = scratch[0, : g.size], scratch[1, : g.size], scratch[2, : g.size]
        if unscale_first:
            for i in range(g.size):
                g[i] *= unscale
        call_round_part(round, g, rounded, start, gradient_site, noise)
        if not unscale_first:
            for i in range(g.size):
                rounded[i] *= unscale
        sgd(m, rounded, v, new, update, rate, momentum, decay, first, nesterov)
        for i in range(g.size):
            update[i] += m[i]
        call_round_part(round, update, m, start, master_site, noise)
        call_round_part(round, m, w, start, weight_site, noise)
        call_round_part(round, new, v, start, velocity_site, noise)
