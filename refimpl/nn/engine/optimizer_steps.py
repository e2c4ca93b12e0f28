"""One step of an optimizer over flat float32 vectors, in one pass each.

Every operation is rounded to float32 by itself, in the order of the formulas; nothing is fused, so
that NumPy, told the same, gives the same bits.
"""

import numpy as np

from refimpl.kernels._compiled import compiled
from refimpl.nn.engine.rounding import UNSCALED, WHOLE, call_round_part


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
def _round(x, out, start, sites, k, noise, round):
    """Round x into out at the k-th site: elements of a tensor from `start` on, or all of one that has a scale."""
    first = start if sites[k].scaling == UNSCALED else WHOLE
    call_round_part(round, x, out, first, sites[k : k + 1], noise)


@compiled
def _round_gradients(gradient, unscale, unscale_first, guarded, ends, sites, noise, round):
    """Round gradients in place, multiplied by `unscale` before or after; return False if guarded and not finite."""
    start = 0
    for p in range(ends.size):
        g = gradient[start : ends[p]]
        if unscale_first:
            for i in range(g.size):
                g[i] *= unscale
        _round(g, g, 0, sites, p, noise, round)
        if not unscale_first:
            for i in range(g.size):
                g[i] *= unscale
        start = ends[p]
    if guarded:
        for i in range(gradient.size):
            if not np.isfinite(gradient[i]):
                return False
    return True


@compiled
def _scratch(vectors, pieces):
    """Return vectors as long as the longest piece: new ones, which loops then know to be apart from all others."""
    longest = 0
    for p in range(pieces.size):
        longest = max(longest, pieces[p])
    return np.empty((vectors, longest), np.float32)


@compiled
def _move(update, master, weights, start, p, ends, sites, noise, round):
    """Add the update (overwritten) to the master weights, and take the weights from them, both rounded."""
    for i in range(update.size):
        update[i] += master[i]
    _round(update, master, start, sites, ends.size + p, noise, round)
    _round(master, weights, start, sites, 2 * ends.size + p, noise, round)


@compiled
def sgd_and_round(
    gradient,
    master,
    weights,
    velocity,
    unscale,
    unscale_first,
    guarded,
    rate,
    momentum,
    decay,
    first,
    nesterov,
    ends,
    pieces,
    sites,
    noise,
    round,
):
    """Take a step of `sgd` with its roundings, in one pass; or none, and return False.

    That is where it is guarded, and a rounded gradient is infinite or NaN.  The gradient (overwritten) is multiplied
    by `unscale` before its rounding, or after it.  ends: int64 (parts,), where each of the parts of the vectors
    that are rounded apart ends; pieces: how much of it to work on at a time, all where something of it has a scale.
    sites: one for each part of the gradient, then of master weights, of weights, and of the velocity; these, noise
    and round are those of `refimpl.nn.engine.rounding`.
    """
    if not _round_gradients(gradient, unscale, unscale_first, guarded, ends, sites, noise, round):
        return False
    scratch, start = _scratch(2, pieces), 0
    for p in range(ends.size):
        for at in range(start, ends[p], pieces[p]):
            end = min(at + pieces[p], ends[p])
            m, v, update, new = master[at:end], velocity[at:end], scratch[0, : end - at], scratch[1, : end - at]
            sgd(m, gradient[at:end], v, new, update, rate, momentum, decay, first, nesterov)
            _move(update, m, weights[at:end], at - start, p, ends, sites, noise, round)
            _round(new, v, at - start, sites, 3 * ends.size + p, noise, round)
        start = ends[p]
    return True


@compiled
def adam_and_round(
    gradient,
    master,
    weights,
    mean,
    square,
    unscale,
    unscale_first,
    guarded,
    rate,
    beta1,
    beta2,
    epsilon,
    decay,
    decoupled,
    correction1,
    correction2,
    ends,
    pieces,
    sites,
    noise,
    round,
):
    """Take a step of `adam` as `sgd_and_round` does one of `sgd`; the last sites are those of mean and square."""
    if not _round_gradients(gradient, unscale, unscale_first, guarded, ends, sites, noise, round):
        return False
    scratch, start = _scratch(3, pieces), 0
    for p in range(ends.size):
        for at in range(start, ends[p], pieces[p]):
            end = min(at + pieces[p], ends[p])
            m, u, s = master[at:end], mean[at:end], square[at:end]
            update, first, second = (scratch[0, : end - at], scratch[1, : end - at], scratch[2, : end - at])
            how = rate, beta1, beta2, epsilon, decay, decoupled, correction1, correction2
            adam(m, gradient[at:end], u, s, first, second, update, *how)
            _move(update, m, weights[at:end], at - start, p, ends, sites, noise, round)
            _round(first, u, at - start, sites, 3 * ends.size + p, noise, round)
            _round(second, s, at - start, sites, 4 * ends.size + p, noise, round)
        start = ends[p]
    return True
