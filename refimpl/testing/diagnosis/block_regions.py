"""Where in what was seen of a block quantizer something may hold alone: kinds of blocks, and of elements."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from refimpl.formats import IntFormat
from refimpl.testing.diagnosis.block_stages import unit_exponent
from refimpl.testing.diagnosis.block_table import Table
from refimpl.testing.diagnosis.local import Failures
from refimpl.testing.diagnosis.regions import Measure, Property
from refimpl.testing.expected.behaviour import values_of
from refimpl.testing.expected.quotients import quotient

Named = tuple[str, Any]


class Blocks(Failures):
    """Which blocks, (n, 1), or which elements, (n, size), are wrong, and kinds of them."""

    noun = ""
    halves = False

    def __init__(self, behaviour, table: Table, wrong: Any, elements: bool = False):
        self.wrong, self.what = wrong, "elements" if elements else "blocks"
        kinds, numbers = [*_of_blocks(behaviour, table)], [*_numbers_of_blocks(behaviour, table)]
        if elements:
            self.cases = int(table.here.sum())
            kinds += _of_elements(behaviour, table)
            numbers.append(("among elements numbered (the first is 0)", np.arange(table.x.shape[1])[None, :]))
            numbers.append(("among elements whose quotient is in size", np.abs(_quotients(table))))
            numbers.append(("among elements of a size", np.abs(table.x)))
        self.properties = [Property(*named) for named in kinds]
        self.measures = [Measure(*named) for named in numbers]


def _of_blocks(behaviour, table: Table) -> Iterator[Named]:
    """Yield kinds of blocks, (n, 1)."""
    size = table.x.shape[1]
    magnitude = np.abs(table.x)
    largest = (magnitude == table.a) & table.here
    first = largest.argmax(axis=1)[:, None]
    last = size - 1 - largest[:, ::-1].argmax(axis=1)[:, None]
    negative = (largest & (table.x < 0)).any(axis=1, keepdims=True)
    positive = (largest & (table.x > 0)).any(axis=1, keepdims=True)
    full = table.here.all(axis=1, keepdims=True)
    yield "in blocks whose largest magnitude is that of a negative element", negative & ~positive
    yield "in blocks whose largest magnitude is that of a positive element", positive & ~negative
    yield "in blocks in which a negative element has the largest magnitude, perhaps beside a positive one", negative
    yield "in blocks in which a positive element has the largest magnitude, perhaps beside a negative one", positive
    yield "in the first block of a row", table.block == 0
    yield "in all blocks of a row but the first", table.block > 0
    yield "in the last block of a row", table.block == table.blocks - 1
    yield "in all blocks of a row but the last", table.block < table.blocks - 1
    yield "in every second block of a row, the first among them", table.block % 2 == 0
    yield "in every second block of a row, from the second on", table.block % 2 == 1
    yield "in blocks of a row from the third on", table.block >= 2
    for every in (3, 4, 8, 16):
        yield f"in every {_th(every)} block of a row, the first among them", table.block % every == 0
        yield f"in every {_th(every)} block of a row, from block {every - 1} on", table.block % every == every - 1
    yield "in the first row", table.row == 0
    yield "in all rows but the first", table.row > 0
    yield "in the last row", table.row == table.rows - 1
    yield "in all rows but the last", table.row < table.rows - 1
    yield "in rows of odd number", table.row % 2 == 1
    yield "in rows of even number", table.row % 2 == 0
    yield "in blocks that are not full, at the end of a row", ~full
    yield "in full blocks", full
    yield "in blocks of one element", table.here.sum(axis=1, keepdims=True) == 1
    yield "in the last block of rows that end in a part of one", (table.block == table.blocks - 1) & ~full
    for itemsize in np.unique(table.itemsize):
        yield f"for float{8 * itemsize} inputs", table.itemsize == itemsize
    yield "where codes are asked for", table.coded
    yield "where values are asked for", ~table.coded
    yield "in blocks whose first element is the largest in magnitude", first == 0
    yield "in blocks whose first element is not the largest in magnitude", first > 0
    yield "in blocks whose last element is the largest in magnitude", last == size - 1
    yield "in blocks whose last element is not the largest in magnitude", last < size - 1
    yield "in blocks whose largest magnitude is in the first half", first < size // 2
    yield "in blocks whose largest magnitude is in the second half", first >= size // 2
    yield "in blocks whose largest magnitude is at an odd place", first % 2 == 1
    yield "in blocks whose largest magnitude is at an even place", first % 2 == 0
    yield "in blocks whose largest magnitude comes more than once", largest.sum(axis=1, keepdims=True) > 1
    yield "in blocks whose largest magnitude comes once", largest.sum(axis=1, keepdims=True) == 1
    zero = (table.x == 0) & table.here
    yield "in blocks of zeros", table.a == 0
    yield "in blocks that are not all zeros", table.a > 0
    yield "in blocks that hold a zero", zero.any(axis=1, keepdims=True)
    yield "in blocks that hold no zero", ~zero.any(axis=1, keepdims=True)
    minus, plus = (((f(table.x, 0)) & table.here).any(axis=1, keepdims=True) for f in (np.less, np.greater))
    yield "in blocks that hold a negative number", minus
    yield "in blocks without a negative number", ~minus
    yield "in blocks that hold a positive number", plus
    yield "in blocks without a positive number", ~plus
    fmt = behaviour.format
    values = values_of(fmt.scale)
    values = values[values > 0]
    yield "in blocks of the smallest scale", table.s == values[0]
    yield "in blocks of the largest scale", table.s == values[-1]
    yield "in blocks of neither the smallest nor the largest scale", (table.s > values[0]) & (table.s < values[-1])
    fraction = np.frexp(table.a)[0]
    yield "in blocks whose largest magnitude is a power of two", fraction == 0.5
    yield "in blocks whose largest magnitude is no power of two", (fraction != 0.5) & (table.a > 0)
    if fmt.tensor_scale:
        ratio = quotient(table.a, float(fmt.grid.max) * table.t)
        yield "in blocks whose scale is subnormal", table.s < fmt.scale.smallest_normal
        yield "in blocks whose scale is normal", table.s >= fmt.scale.smallest_normal
        yield "in blocks whose scale is rounded up", table.s > ratio
        yield "in blocks whose scale is rounded down", table.s < ratio
        yield "in blocks whose scale is exact", table.s == ratio
        yield "in blocks whose scale rounds to zero", (ratio <= values[0] / 2) & (table.a > 0)
        yield "in the block of the tensor's largest magnitude", _of_tensor(table)
        yield "in tensors of zeros", _tensor_largest(table) == 0
    saturating = (np.abs(quotient(table.x, table.s * table.t)) > float(fmt.grid.max)).any(axis=1, keepdims=True)
    yield "in blocks that saturate", saturating
    yield "in blocks that do not saturate", ~saturating


def _th(n: int) -> str:
    return {3: "third", 4: "fourth"}.get(n, f"{n}th")


def _tensor_largest(table: Table):
    largest = np.zeros(int(table.call.max()) + 1)
    np.maximum.at(largest, table.call[:, 0], table.a[:, 0])
    return largest[table.call]


def _of_tensor(table: Table):
    return table.a == _tensor_largest(table)


def _of_elements(behaviour, table: Table) -> Iterator[Named]:
    """Yield kinds of elements, (n, size)."""
    size, fmt = table.x.shape[1], behaviour.format
    place = np.arange(size)[None, :]
    yield "among negative elements", table.x < 0
    yield "among positive elements", table.x > 0
    yield "among zeros", table.x == 0
    yield "among elements that are not zero", table.x != 0
    yield "in the first half of a block", place < size // 2
    yield "in the second half of a block", place >= size // 2
    yield "among elements at odd places", place % 2 == 1
    yield "among elements at even places", place % 2 == 0
    yield "in the first element of a block", place == 0
    yield "in all elements of a block but the first", place > 0
    yield "in the last element of a block", place == size - 1
    yield "in all elements of a block but the last", place < size - 1
    for every in (4, 8, 16):
        if every < size:
            yield f"among elements of which the place is a multiple of {every}", place % every == 0
            yield f"among elements {every - 1}, {2 * every - 1}, ... of a block", place % every == every - 1
    yield "among elements of the largest magnitude", np.abs(table.x) == table.a
    yield "among elements smaller than the largest magnitude", np.abs(table.x) < table.a
    largest = ((np.abs(table.x) == table.a) & table.here).argmax(axis=1)[:, None]
    yield "among elements after the largest magnitude", place > largest
    yield "among elements before the largest magnitude", place < largest
    grid, q = fmt.grid, _quotients(table)
    magnitude = np.abs(q)
    exponent = np.frexp(magnitude)[1] - 1 - grid.mantissa_bits
    if grid.exponent_bits:
        unit = np.ldexp(1.0, np.maximum(exponent, unit_exponent(grid)))
        normal = float(grid.smallest_normal)
        yield "among elements whose quotient is below the smallest normal element", (magnitude < normal) & (q != 0)
        yield "among elements whose quotient is not below the smallest normal element", magnitude >= normal
    else:
        unit = np.full(q.shape, np.ldexp(1.0, unit_exponent(grid)))
    steps = magnitude / unit
    part, odd = steps - np.floor(steps), np.floor(steps) % 2 == 1
    top = float(grid.max)
    becomes = np.abs(table.right) / (table.s * table.t)
    yield "among ties", part == 0.5
    yield "among elements that are no ties", part != 0.5
    yield "among quotients above a tie", part > 0.5
    yield "among quotients below a tie", (part < 0.5) & (part > 0)
    yield "among quotients that are no elements yet", part > 0
    yield "among quotients that are elements already", part == 0
    yield "among quotients above an odd element code", odd
    yield "among quotients above an even element code", ~odd
    yield "among quotients beyond the largest element", magnitude > top
    yield "among quotients not beyond the largest element", magnitude <= top
    yield "among elements that become zero", (becomes == 0) & (table.x != 0)
    yield "among elements that become the largest", becomes == top
    yield "among elements that become no zero", becomes > 0
    if isinstance(fmt.element, IntFormat):
        yield "among negative quotients of which the code is the lowest", (q < 0) & (becomes == top)


def _quotients(table: Table):
    return quotient(table.x, table.s * table.t)


def _numbers_of_blocks(behaviour, table: Table) -> Iterator[Named]:
    yield "in blocks whose largest magnitude is", table.a
    yield "in blocks of which the significand of the largest magnitude is", 2 * np.frexp(table.a)[0]
    yield "in blocks of a row numbered (the first is 0)", table.block
    yield "in rows numbered (the first is 0)", table.row
    if behaviour.format.tensor_scale:
        ratio = quotient(table.a, float(behaviour.format.grid.max) * table.t)
        yield "in blocks whose scale, before it is rounded, is", ratio
        yield "in blocks whose scale is", table.s
        yield "in tensors whose scale is", table.t
