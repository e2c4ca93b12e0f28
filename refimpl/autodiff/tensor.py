"""`Tensor`: an array that remembers how it was made, and `backward`, which goes back through that.

*Notation*: for y = f(x) and a scalar loss L, dy stands for dL/dy; the vector-Jacobian product
(vjp) of f maps dy to dx = dy . (df/dx).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from inspect import signature
from typing import TYPE_CHECKING, Any

import numpy as np


class Tensor:
    """An array in a computation that can be differentiated.

    Parameters
    ----------
    data : array_like of float32 or float64
        Kept as it is, not copied; other dtypes become float32.
    requires_grad : bool
        Whether `backward` should leave dL/d(this) in `grad`.

    Attributes
    ----------
    data : ndarray
    grad : ndarray or None
        Same shape and dtype as data, after `backward`; gradients of repeated calls add up.

    Examples
    --------
    >>> x = Tensor([3.0, 4.0], requires_grad=True)
    >>> (x * x).sum().backward()
    >>> x.grad
    array([6., 8.])
    """

    __slots__ = ("_parents", "_vjp", "data", "grad", "requires_grad")
    __array_priority__ = 1000  # ndarray * Tensor asks Tensor

    def __init__(self, data, requires_grad: bool = False):
        data = np.asarray(data)
        self.data = data if data.dtype in (np.float32, np.float64) else data.astype(np.float32)
        self.requires_grad = requires_grad
        self.grad: np.ndarray | None = None
        self._parents: tuple[Tensor, ...] = ()
        self._vjp: Callable | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the data."""
        return self.data.shape

    def __repr__(self) -> str:
        return f"Tensor({self.data!r})"

    if TYPE_CHECKING:  # they come from `refimpl.autodiff.primitives`

        def __add__(self, other: Any) -> Tensor: ...
        def __radd__(self, other: Any) -> Tensor: ...
        def __mul__(self, other: Any) -> Tensor: ...
        def __rmul__(self, other: Any) -> Tensor: ...
        def __sub__(self, other: Any) -> Tensor: ...
        def __rsub__(self, other: Any) -> Tensor: ...
        def __truediv__(self, other: Any) -> Tensor: ...
        def __rtruediv__(self, other: Any) -> Tensor: ...
        def __matmul__(self, other: Any) -> Tensor: ...
        def __neg__(self) -> Tensor: ...
        def __getitem__(self, at: Any) -> Tensor: ...
        def sum(self, axis: Any = None) -> Tensor: ...
        def mean(self, axis: Any = None) -> Tensor: ...
        def reshape(self, *shape: int) -> Tensor: ...
        def transpose(self, *axes: int) -> Tensor: ...

    def backward(self) -> None:
        """Add dL/dx to the `grad` of every tensor L was computed from, L being this scalar.

        Raises
        ------
        ValueError
            If this tensor has more than one element.
        """
        if self.data.size != 1:
            raise ValueError(f"backward: starts from a scalar, this tensor has shape {self.shape}; sum it first")
        gradients = {id(self): np.ones_like(self.data)}
        for node in _newest_first(self):
            dy = gradients.pop(id(node), None)
            if dy is None:  # nothing of it reached the loss
                continue
            if node._vjp is None:
                dy = np.array(dy, node.data.dtype)
                node.grad = dy if node.grad is None else node.grad + dy
                continue
            for parent, dx in zip(node._parents, node._vjp(dy), strict=True):
                if parent.requires_grad and dx is not None:
                    seen = gradients.get(id(parent))
                    gradients[id(parent)] = dx if seen is None else seen + dx


def _newest_first(root: Tensor) -> list[Tensor]:
    """Return the nodes that need gradients, each before everything it was computed from."""
    order, seen, stack = [], set(), [(root, False)]
    while stack:
        node, finished = stack.pop()
        if finished:
            order.append(node)
        elif id(node) not in seen and node.requires_grad:
            seen.add(id(node))
            stack.append((node, True))
            stack.extend((parent, False) for parent in node._parents)
    return order[::-1]


def primitive(function: Callable) -> Callable:
    """Turn ``f(*arrays, **options) -> (y, vjp)`` into a function of Tensors.

    `vjp` takes dy, an array like y, and returns one gradient (or None) for each array.
    Positional arguments are tensors or arrays; options are keyword arguments.  A function with an
    option `needed` is told which inputs want a gradient (a tuple of bool), and may return None for
    the others: the first layer of a network need not work out that of the data.

    Examples
    --------
    >>> @primitive
    ... def cube(x):
    ...     return x**3, lambda dy: (dy * 3 * x**2,)
    >>> x = Tensor(2.0, requires_grad=True)
    >>> cube(x).backward()
    >>> float(x.grad)
    12.0
    """

    asks = "needed" in signature(function).parameters

    @wraps(function)
    def apply(*inputs, **options):
        parents = tuple(x if isinstance(x, Tensor) else Tensor(x) for x in inputs)
        if asks:
            options["needed"] = tuple(parent.requires_grad for parent in parents)
        y, vjp = function(*(parent.data for parent in parents), **options)
        output = Tensor(y)
        if any(parent.requires_grad for parent in parents):
            output.requires_grad = True
            output._parents, output._vjp = parents, vjp
        return output

    return apply
