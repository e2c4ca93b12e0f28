"""Working memory laid out ahead: where in one vector each tensor of a step lies, and for how long."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

LINE = 16  # float32 in a cache line


@dataclass(frozen=True)
class Block:
    """A tensor's place in memory."""

    at: int
    shape: tuple[int, ...]
    needs_gradient: bool

    @property
    def size(self) -> int:
        return prod(self.shape)

    def reshape(self, *shape: int) -> Block:
        """Return the same place as a tensor of another shape."""
        return Block(self.at, shape, self.needs_gradient)

    @property
    def flat(self) -> Block:
        """All elements one after the other."""
        return self.reshape(self.size)

    @property
    def rows(self) -> Block:
        """All vectors along the last axis one after the other."""
        return self.reshape(prod(self.shape[:-1]), self.shape[-1])


class Workspace:
    """Gives out places in a vector of float32, and takes them back.

    Attributes
    ----------
    size : int
        Of the vector, by what has been taken so far.

    Examples
    --------
    >>> space = Workspace()
    >>> first = space.take((32, 10))
    >>> space.give(first)
    >>> space.take((2, 2)).at == first.at
    True
    """

    def __init__(self) -> None:
        self.size = 0
        self._free: list[tuple[int, int]] = []  # (at, size), ascending
        self._users: dict[int, list[int]] = {}  # of the tensor at a place: owners and size

    def take(self, shape: tuple[int, ...], needs_gradient: bool = True) -> Block:
        """Return a free place for a tensor."""
        size = -(-prod(shape) // LINE) * LINE
        fitting = [i for i, (_, room) in enumerate(self._free) if room >= size]
        if fitting:
            i = min(fitting, key=lambda i: self._free[i][1])
            at, room = self._free.pop(i)
            if room > size:
                self._free.insert(i, (at + size, room - size))
        elif self._free and sum(self._free[-1]) == self.size:
            at, _ = self._free.pop()
            self.size = at + size
        else:
            at, self.size = self.size, self.size + size
        self._users[at] = [1, size]
        return Block(at, tuple(shape), needs_gradient)

    def share(self, block: Block) -> Block:
        """Give a tensor one more owner."""
        self._users[block.at][0] += 1
        return block

    def give(self, *blocks: Block | None) -> None:
        """Give tensors back; the last owner frees the place."""
        for block in blocks:
            if block is None:
                continue
            self._users[block.at][0] -= 1
            if self._users[block.at][0]:
                continue
            self._free.append((block.at, self._users.pop(block.at)[1]))
            self._free.sort()
            merged = self._free[:1]
            for at, size in self._free[1:]:
                if sum(merged[-1]) == at:
                    merged[-1] = merged[-1][0], merged[-1][1] + size
                else:
                    merged.append((at, size))
            self._free = merged
