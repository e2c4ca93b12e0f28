"""Optimizers in low precision, on one flat vector of all parameters.

With g the gradient of the scaled loss, Q the rounding to a role's format and w the master weights,
one step is, in float32, in the order of QPyTorch's OptimLP:

    g       = Q_weight_gradient(g / loss_scale)        or Q(g) / loss_scale, as the policy says
    update  = what the optimizer makes of g, w and its state
    w       = Q_master_weight(w + update)
    the network's weights = Q_weight(w)
    state   = Q_momentum(state)           after the step: this update used it unrounded

Where a policy has the role ``optimizer``, every operation of the update is rounded to its format
(`refimpl.nn.every_operation`), not to float32.

All parameters are treated alike.  The first forward pass uses the unrounded initial weights.
*Source*: PEPPP's released code and QPyTorch's OptimLP.  Kahan's update: Zamirai et al. (arXiv
2010.06192); eight-bit state: Dettmers et al. (2110.02861).
"""

from __future__ import annotations

import fnmatch
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

import numpy as np

from refimpl import _arguments as check
from refimpl.autodiff import Tensor
from refimpl.nn import every_operation
from refimpl.nn.eight_bit import EightBit
from refimpl.nn.rounder import Rounder

Update = Literal["plain", "kahan", "stochastic"]
State = Literal["rounded", "8-bit", "8-bit linear"]
EIGHT_BIT_PARTS = ("codes", "largest", "kept")
_ROLES = ("weight gradient", "master weight", "weight", "momentum")  # in the order of rounding


@dataclass(frozen=True, kw_only=True)
class Optimizer:
    """What SGD and Adam have in common.

    Parameters
    ----------
    update : str
        How the master weights take the update: ``plain``; ``stochastic``: rounded stochastically
        whatever the policy says; ``kahan``: with the rounding error of each step carried to the
        next in a second vector of their format, every operation rounded to it.
    state : str
        ``rounded`` as the policy says of the role momentum, or ``8-bit``: the block-wise dynamic map
        instead; ``8-bit linear``: values equally spaced, which is worse.
    block : int
        Elements of a block of 8-bit state; the last one of a tensor may be shorter.
    least : int
        Tensors of fewer elements keep their state in float32 instead of 8 bits.
    unquantized : tuple of str
        Layers that do so too, by patterns as in `Precision.layers`, such as ``("*Embedding",)``.
    """

    weight_decay: float = 5e-4
    update: Update = "plain"
    state: State = "rounded"
    block: int = 256
    least: int = 0
    unquantized: tuple[str, ...] = ()
    signs: ClassVar[tuple[bool, ...]]  # of the state vectors: whether they take both

    def __post_init__(self):
        caller = type(self).__name__
        check.choice(caller, "update", self.update, get_args(Update))
        check.choice(caller, "state", self.state, get_args(State))
        check.number(caller, "weight_decay", self.weight_decay, check.FLOAT32_OR_0)
        check.integer(caller, "block", self.block, check.Interval(1))
        check.integer(caller, "least", self.least, check.NOT_NEGATIVE)
        if self.unquantized:
            check.sequence(caller, "unquantized", self.unquantized, '("*Embedding",)')

    def propose(self, step, rate, weights, gradient, state, new, update, q=None) -> None:
        """Write new state and update of the step-th step (from 1), every operation by a Calculator if there is one."""
        raise NotImplementedError

    def start(
        self, named: list[tuple[str, str, Tensor]], rounder: Rounder, *, one_by_one: bool = False
    ) -> OptimizerState:
        """Take hold of a network's parameters, as `Sequential.named_tensors` lists them.

        If `one_by_one`, a step's roundings are made one after the other, to the same bits, not in one pass.
        """
        return OptimizerState(self, named, rounder, one_by_one)


@dataclass(frozen=True, kw_only=True)
class SGD(Optimizer):
    """Stochastic gradient descent with momentum, as PyTorch defines it.

    d = g + weight_decay * w;  v = d on the first step, else momentum * v + d;
    update = -rate * v, or with nesterov -rate * (d + momentum * v).

    >>> SGD(momentum=0.9).signs
    (True,)
    """

    momentum: float = 0.9
    nesterov: bool = False
    signs = (True,)

    def __post_init__(self):
        super().__post_init__()
        check.number("SGD", "momentum", self.momentum, check.BELOW_ONE)
        check.flag("SGD", "nesterov", self.nesterov)

    def propose(self, step, rate, weights, gradient, state, new, update, q=None):
        from refimpl.nn.engine import optimizer_steps as kernel

        if q is not None:
            how = self.momentum, self.weight_decay, step == 1, self.nesterov
            new[0][:], update[:] = every_operation.sgd(q, weights, gradient, state[0], rate, *how)
            return
        kernel.sgd(weights, gradient, *state, *new, update, *self._constants(step, rate))

    def _constants(self, step, rate):
        f = np.float32
        return f(rate), f(self.momentum), f(self.weight_decay), step == 1, self.nesterov


@dataclass(frozen=True, kw_only=True)
class Adam(Optimizer):
    """Adam, or AdamW if decoupled: see `refimpl.nn.engine.optimizer_steps.adam`.

    >>> Adam(epsilon=1e-4).signs
    (True, False)
    """

    weight_decay: float = 0.0
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8
    decoupled: bool = False
    signs = (True, False)

    def __post_init__(self):
        super().__post_init__()
        check.number("Adam", "beta1", self.beta1, check.BELOW_ONE)
        # 1 is what bfloat16 makes of .999: a second moment that learns nothing
        check.number("Adam", "beta2", self.beta2, check.FRACTION)
        check.number("Adam", "epsilon", self.epsilon, check.FLOAT32_OR_0)
        check.flag("Adam", "decoupled", self.decoupled)

    def propose(self, step, rate, weights, gradient, state, new, update, q=None):
        from refimpl.nn.engine import optimizer_steps as kernel

        if q is not None:
            constants = self.beta1, self.beta2, self.epsilon, self.weight_decay, self.decoupled, step
            found = every_operation.adam(q, weights, gradient, state[0], state[1], rate, *constants)
            new[0][:], new[1][:], update[:] = found
            return
        kernel.adam(weights, gradient, *state, *new, update, *self._constants(step, rate))

    def _constants(self, step, rate):
        f = np.float32
        return (
            f(rate),
            f(self.beta1),
            f(self.beta2),
            f(self.epsilon),
            f(self.weight_decay),
            self.decoupled,
            f(1 - self.beta1**step),
            f((1 - self.beta2**step) ** 0.5),
        )


def AdamW(**settings) -> Adam:
    """Return Adam with decoupled weight decay.

    >>> AdamW(weight_decay=0.01).decoupled
    True
    """
    return Adam(**{"weight_decay": 0.01, **settings}, decoupled=True)


class OptimizerState:
    """An optimizer at work on a network.

    Attributes
    ----------
    weights, master_weights : ndarray of float32, shape (parameters,)
        What the network uses (its tensors are views of it), and what the optimizer keeps.
    state : list of ndarray or EightBit
    steps : int
    """

    def __init__(self, rule: Optimizer, named, rounder: Rounder, one_by_one: bool = False):
        self.rule, self.steps, self._one_by_one = rule, 0, one_by_one
        self.named = named
        self.tensors = [tensor for _, _, tensor in named]
        self.weights = np.concatenate([t.data.reshape(-1) for t in self.tensors])
        self.master_weights = self.weights.copy()
        self._round_by(rounder)
        size = self.weights.size
        self._gradient, self._rounded = np.empty(size, np.float32), np.empty(size, np.float32)
        self._update = np.empty(size, np.float32)
        self._new = [np.empty(size, np.float32) for _ in rule.signs]
        self.carried = np.zeros(size, np.float32) if rule.update == "kahan" else None
        self.state: list[np.ndarray | EightBit] = [
            np.zeros(size, np.float32) if rule.state == "rounded" else self._eight_bit(signed) for signed in rule.signs
        ]
        start = 0
        for tensor in self.tensors:
            end = start + tensor.data.size
            tensor.data = self.weights[start:end].reshape(tensor.shape)
            start = end

    def _eight_bit(self, signed: bool) -> EightBit:
        """Return a state of zeros in 8 bits."""
        rule, sizes = self.rule, [tensor.data.size for tensor in self.tensors]
        exact = [
            size < rule.least or any(fnmatch.fnmatchcase(layer, pattern) for pattern in rule.unquantized)
            for size, (layer, _, _) in zip(sizes, self.named, strict=True)
        ]
        linear = rule.state == "8-bit linear"
        return EightBit(sizes, signed=signed, block=rule.block, linear=linear, exact=exact)

    def _pass(self) -> _OnePass | None:
        """Return a step in one pass; None where there is none."""
        rule, rounder = self.rule, self.rounder
        accumulated = any(rounder.precision.accumulator_of("optimizer", layer) for layer, *_ in self.parts)
        if self._one_by_one or type(rule) not in (SGD, Adam) or rule.update == "kahan" or accumulated:
            return None
        rounded = [(role, "") for role in _ROLES[:3]]
        if rule.state == "rounded":
            rounded += [("momentum", str(i)) for i in range(len(rule.signs))]
        sites = [rounder.site(r, layer, f"{name} {w}") for r, w in rounded for layer, name, *_ in self.parts]
        known = [site for site in sites if site is not None]
        if len(known) < len(sites):
            return None
        left = (1 + 2 + len(rule.signs)) * len(self.parts) - len(sites)
        return _OnePass(np.concatenate(known + left * [np.zeros_like(known[0])]), self.parts)

    def _arguments(self, rate, gradient, loss_scale, guarded, state) -> tuple:
        """Return what a step in one pass wants to know, but for the address of rounding."""
        assert self._at_once is not None
        return (
            gradient,
            self.master_weights,
            self.weights,
            *state,
            np.float32(1 / loss_scale),
            self.rounder.precision.gradients_rounded == "unscaled",
            guarded,
            *self.rule._constants(self.steps + 1, rate),  # type: ignore[attr-defined]
            self._at_once.ends,
            self._at_once.pieces,
            self._at_once.sites,
            self.rounder.noise,
        )

    def _kernel(self) -> Callable:
        from refimpl.nn.engine import optimizer_steps as kernels

        return kernels.adam_and_round if isinstance(self.rule, Adam) else kernels.sgd_and_round

    def calls(self) -> list[tuple[Callable, tuple]]:
        """Return the calls of kernels that a step in one pass makes, to be compiled beside those of the network."""
        if self._at_once is None:
            return []
        state = [self.weights for _ in self.state]
        step = self._kernel(), (*self._arguments(1.0, self.weights, 1.0, False, state), self.rounder.round_part)
        return [step, *(call for s in self.state if isinstance(s, EightBit) for call in s.calls(self.weights))]

    def _step_at_once(self, rate, gradient, loss_scale, guarded) -> bool:
        at_once = self._at_once
        assert at_once is not None
        state, write = [], []
        for vector, kept in zip(self._new, self.state, strict=True):
            if isinstance(kept, EightBit):
                (read, arguments), then = kept.calls(vector)
                read(*arguments)
                write.append(then)
            state.append(vector if isinstance(kept, EightBit) else kept)
        with self.rounder.drawing(at_once.streams) as drawn:
            arguments = self._arguments(rate, gradient, loss_scale, guarded, state)
            moved = self._kernel()(*arguments, self.rounder.round_part.value)
            if not moved:
                drawn(at_once.of_gradients)
        if moved:
            self.steps += 1
            for kernel, arguments in write:
                kernel(*arguments)
        return moved

    def _round_by(self, rounder: Rounder) -> None:
        """Round by this rounder from now on."""
        self.rounder, self.parts = rounder, _parts(self.named, rounder)
        if self.rule.update == "stochastic":
            for layer, *_ in self.parts:
                rounder.override("master weight", layer, rounding="stochastic")
        self._at_once = self._pass()

    def switch_precision(self, rounder: Rounder) -> None:
        """Change to another policy: everything kept is rounded to what the policy keeps it in."""
        self._round_by(rounder)
        kept = [("master weight", self.master_weights), ("master weight", self.carried)]
        for role, vector in [*kept, *(("momentum", state) for state in self.state)]:
            if isinstance(vector, np.ndarray):
                self._round(vector.copy(), role, vector, "kept")
        self._round(self.master_weights, "weight", self.weights)

    def collect(self) -> np.ndarray:
        """Return the gradients the backward pass has left as one vector, and clear them."""
        flat, start = self._gradient, 0
        for tensor in self.tensors:
            end = start + tensor.data.size
            flat[start:end] = 0 if tensor.grad is None else tensor.grad.reshape(-1)
            tensor.grad = None
            start = end
        return flat

    def step(self, rate: float, gradient: np.ndarray, loss_scale: float, *, guarded: bool = False) -> bool:
        """Move the weights by gradients (which are overwritten) of the scaled loss; return True.

        If `guarded`, and a rounded gradient is infinite or NaN, move nothing and return False.
        """
        if self._at_once is not None and self.rounder.plan is None:
            return self._step_at_once(rate, gradient, loss_scale, guarded)
        unscale, rounded = np.float32(1 / loss_scale), self._rounded
        if self.rounder.precision.gradients_rounded == "unscaled":
            gradient *= unscale
            self._round(gradient, "weight gradient", rounded)
        else:
            self._round(gradient, "weight gradient", rounded)
            rounded *= unscale
        if guarded and not np.isfinite(rounded).all():
            return False
        self.steps += 1
        state = [s.read() if isinstance(s, EightBit) else s for s in self.state]
        w, update, new = self.master_weights, self._update, self._new
        for layer, _, start, end in self.parts:
            how = self.rounder.precision.accumulator_of("optimizer", layer)
            part = slice(start, end)
            of_part = w[part], rounded[part], [s[part] for s in state], [n[part] for n in new], update[part]
            self.rule.propose(self.steps, rate, *of_part, q=how and every_operation.Calculator(how))
        if self.carried is None:
            update += w
            self._round(update, "master weight", w)
        else:
            self._kahan(self.carried)
        self._round(w, "weight", self.weights)
        for i, (kept, vector) in enumerate(zip(self.state, new, strict=True)):
            if isinstance(kept, EightBit):
                kept.write(vector)
            else:
                self._round(vector, "momentum", kept, str(i))
        return True

    def _kahan(self, c: np.ndarray) -> None:
        """y = Q(update - c); s = Q(w + y); c = Q(Q(s - w) - y); w = s."""
        w = self.master_weights

        def rounded(x, which):
            return self._round(x, "master weight", np.empty_like(x), which)

        y = rounded(self._update - c, "y")
        s = rounded(w + y, "s")
        c[:] = rounded(rounded(s - w, "s - w") - y, "c")
        w[:] = s

    def _round(self, vector, role, out, which="") -> np.ndarray:
        """Round a vector into another, each part by its own rounding."""
        for layer, name, start, end in self.parts:
            self.rounder(vector[start:end], role, layer, out=out[start:end], which=f"{name} {which}")
        return out

    def arrays(self) -> dict[str, np.ndarray]:
        """Return everything that must be kept to continue."""
        found = {"weights": self.weights, "master weight": self.master_weights, "steps": np.array(self.steps)}
        if self.carried is not None:
            found["carried"] = self.carried
        for i, state in enumerate(self.state):
            if isinstance(state, EightBit):
                found |= {f"state{i} {part}": getattr(state, part) for part in EIGHT_BIT_PARTS}
            else:
                found[f"state{i}"] = state
        return found

    def restore(self, arrays: dict[str, np.ndarray]) -> None:
        """Continue from what `arrays` returned."""
        self.weights[:], self.master_weights[:] = arrays["weights"], arrays["master weight"]
        self.steps = int(arrays["steps"])
        if self.carried is not None:
            self.carried[:] = arrays["carried"]
        for i, state in enumerate(self.state):
            if isinstance(state, EightBit):
                for part in EIGHT_BIT_PARTS:
                    setattr(state, part, arrays[f"state{i} {part}"])
            else:
                state[:] = arrays[f"state{i}"]


class _OnePass:
    """What a step in one pass wants to know of its roundings.

    Attributes
    ----------
    sites, ends, pieces : ndarray
        See `refimpl.nn.engine.optimizer_steps.sgd_and_round`.
    streams, of_gradients : int
        How many are drawn from, and how many of these for gradients.
    """

    def __init__(self, sites: np.ndarray, parts: list[tuple[str, str, int, int]]):
        from refimpl.nn.engine.rounding import CHUNK

        self.sites, self.ends = sites, np.array([end for *_, end in parts])
        sizes, scaled = np.diff(self.ends, prepend=0), sites["scaling"].reshape(-1, len(parts))[1:].any(axis=0)
        self.pieces = np.maximum(np.where(scaled, sizes, np.minimum(sizes, CHUNK)), 1)
        drawn = np.cumsum(sites["how"] > 0)
        sites["stream"] = drawn - 1
        self.streams, self.of_gradients = int(drawn[-1]), int(drawn[len(parts) - 1])


def _parts(named, rounder: Rounder) -> list[tuple[str, str, int, int]]:
    """Return (layer, parameter, start, end) of neighbours rounded alike, as few as there can be.

    Without overrides for layers, and without scales for tensors, that is one: four roundings
    then serve all parameters.
    """
    parts: list[tuple[str, str, int, int]] = []
    last, start = None, 0
    for layer, name, tensor in named:
        of_roles = [rounder.precision.rounding_of(role, layer) for role in _ROLES]
        scaled = any(r is not None and r.scaling != "none" for r in of_roles)
        roundings = (*of_roles, rounder.precision.accumulator_of("optimizer", layer))
        end = start + tensor.data.size
        if parts and roundings == last and not scaled:
            parts[-1] = (*parts[-1][:3], end)
        else:
            parts.append((layer, name, start, end))
        last, start = roundings, end
    return parts
