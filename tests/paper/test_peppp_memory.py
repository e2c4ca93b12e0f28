"""The memory rule reproduces every entry of the memory matrix released with PEPPP.

The network is ResNet-18 for small images, here as the list of what its forward pass calls, so
that this test stands on its own. Rows of the matrix are data sets of known resolutions and numbers
of classes.
"""

import hashlib
import os
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from refimpl.peppp.configs import CONFIGURATIONS
from refimpl.peppp.matrix.released import MEMORY, SHA256
from refimpl.peppp.memory import count, released_mb

DIRECTORY = Path(
    os.environ.get("REFIMPL_PEPPP_DATA") or Path(__file__).resolve().parents[2].parent / "shared" / "peppp"
)
FILE = DIRECTORY / MEMORY
OTHERS = [100, 200, 47, 8, 21, 67, 101, 100, 2, 43, 8, 1623, 10, 102, 4, 28, 23]
CLASSES = [10, *[5] * 20, *OTHERS, *[5] * 15, *[6] * 15, *[7] * 12, *[8] * 7, 9]
RESOLUTION = [32] * 21 + [64] * 67


def layer(parameters=0):
    return SimpleNamespace(parameter_count=lambda: parameters)


class ResNet18:
    """Nothing but the calls of a forward pass and the shapes they give."""

    def __init__(self, classes):
        self.classes = classes

    def walk(self, shape):
        size = shape[0]
        yield "input rounding", layer(), shape
        stem = (size, size, 64)
        yield "conv", layer(9 * 3 * 64), stem
        yield "norm", layer(2 * 64), stem
        yield "relu", layer(), stem
        yield "rounding", layer(), stem
        before = 64
        for stage, width in enumerate((64, 128, 256, 512)):
            map_ = (size >> stage, size >> stage, width)
            for block in (0, 1):
                name = f"{stage}.{block}"
                yield f"{name} conv1", layer(9 * before * width), map_
                yield f"{name} rounding", layer(), map_
                yield f"{name} norm1", layer(2 * width), map_
                yield f"{name} relu", layer(), map_
                yield f"{name} rounding", layer(), map_
                yield f"{name} conv2", layer(9 * width * width), map_
                yield f"{name} rounding", layer(), map_
                yield f"{name} norm2", layer(2 * width), map_
                yield f"{name} relu", layer(), map_
                yield f"{name} rounding", layer(), map_
                if before != width:
                    yield f"{name} shortcut conv", layer(before * width), map_
                    yield f"{name} shortcut norm", layer(2 * width), map_
                yield f"{name} rounding of the residual", layer(), map_
                yield f"{name} rounding of the sum", layer(), map_
                yield f"{name} block", layer(), map_
                before = width
        yield "pool", layer(), (512,)
        yield "linear", layer(513 * self.classes), (self.classes,)
        yield "logits rounding", layer(), (self.classes,)


def test_the_parameters_are_those_of_the_formula():
    for classes in (2, 10, 1623):
        counted = sum(part.parameter_count() for _, part, _ in ResNet18(classes).walk((32, 32, 3)))
        assert counted == 11_168_832 + 513 * classes


def test_the_anchors_are_met():
    small, large = CONFIGURATIONS[0], CONFIGURATIONS[7 * 9 + 8]
    assert (small.low_bits, small.high_bits, large.low_bits, large.high_bits) == (5, 14, 9, 20)
    for classes, size, of_small, of_large in ((10, 32, 180.509933, 311.003357), (100, 64, 590.301819, 1048.385010)):
        network, shape = ResNet18(classes), (size, size, 3)
        assert count(network, shape, small).total_mb == pytest.approx(of_small, rel=1e-6)
        assert count(network, shape, large).total_mb == pytest.approx(of_large, rel=1e-6)


@pytest.fixture(scope="module")
def released():
    if not FILE.is_file():
        pytest.skip(f"released PEPPP matrix absent ({FILE.name}); set REFIMPL_PEPPP_DATA")
    assert hashlib.sha256(FILE.read_bytes()).hexdigest() == SHA256[MEMORY]
    return np.load(FILE, allow_pickle=False)


def test_all_8712_entries_are_reproduced_in_float32_bit_for_bit_and_exactly_to_a_millionth(released):
    assert released.shape == (len(CLASSES), len(CONFIGURATIONS)) == (88, 99)
    widths = {(c.low_bits, c.high_bits): c for c in CONFIGURATIONS}
    found = exact = 0
    for classes, size, row in zip(CLASSES, RESOLUTION, released, strict=True):
        network, shape = ResNet18(classes), (size, size, 3)
        bits = {w: released_mb(network, shape, c) for w, c in widths.items()}
        mb = {w: count(network, shape, c).total_mb for w, c in widths.items()}
        for c, entry in zip(CONFIGURATIONS, row, strict=True):
            width = c.low_bits, c.high_bits
            found += np.float32(entry).tobytes() == bits[width].tobytes()
            exact += abs(mb[width] - entry) <= 1e-6 * entry
    assert (found, exact) == (8712, 8712)
