"""The same values in every kind of memory and container: each public operation gives the same bits, or one clear error.

Arrays of NumPy are never refused for where and how they lie.  What is not an array may be refused, by name.
"""

import array
import inspect
import sys

import numpy as np
import pytest

import refimpl as rf

X = np.array([[1.0, -2.0, 0.5, 0.25], [3.0, 0.0, -0.125, 8.0]], np.float32)
POSITIVE = np.where(X == 0, np.float32(1), 2 * np.abs(X))
CODES = np.array([[1, 2, 3, 4], [5, 6, 7, 0]], np.uint8)
SQUARE = X[:, :2].copy()
SCALE, ROWS = np.float32([0.5, 2.0]), np.float32([[0.5], [2.0]])

# The arrays of a good call, and its other arguments.
SPECIAL = {
    "softmax": ({"x": X}, {"fmt": "e4m3fn"}),
    "quantize": ({"x": X}, {"fmt": "e4m3fn"}),
    "encode": ({"x": X}, {"fmt": "e4m3fn"}),
    "decode": ({"codes": CODES}, {"fmt": "e4m3fn", "dtype": "float32"}),
    "compare": ({"a": X, "b": X[::-1].copy()}, {"fmt": "e4m3fn", "relation": "<"}),
    "clamp": ({"a": X, "low": -POSITIVE / 4, "high": POSITIVE / 4}, {"fmt": "float16"}),
    "classify": ({"a": X}, {"fmt": "e4m3fn"}),
    "to_integer": ({"a": X}, {"fmt": "e4m3fn", "bits": 8}),
    "scaleb": ({"a": X, "n": CODES.astype(np.int32)}, {"fmt": "float16"}),
    "sum": ({"x": X}, {"fmt": "e4m3fn", "axis": 1}),
    "dot": ({"a": X[0].copy(), "b": X[1].copy()}, {"fmt": "e4m3fn"}),
    "matmul": ({"a": SQUARE, "b": SQUARE + np.float32(1)}, {"fmt": "e4m3fn", "order": "exact"}),
    "matmul_int": ({"a": CODES[:, :2].astype(np.int8), "b": CODES[:, 2:]}, {"zero_points": (1, 2)}),
    "matmul_int16": ({"a": CODES[:, :2].copy(), "b": CODES[:, 2:].astype(np.int8)}, {}),
    "matmul_lookup": ({"a": CODES[:, :2].copy(), "b": CODES[:, 2:].copy()}, {"first": "e2m1fn", "second": "nf4"}),
    "quantize_int": ({"x": X, "scale": SCALE, "zero_point": np.int32([3, 4])}, {"fmt": "uint8", "axis": 0}),
    "decode_int": ({"codes": CODES, "scale": ROWS, "zero_point": np.int32([[3], [4]])}, {"axis": 0}),
    "requantize": (
        {"x": CODES.astype(np.int32) * 999, "multiplier": np.int32([[2**30], [3]]), "shift": np.int32([[-5], [-6]])},
        {"fmt": "int8"},
    ),
    "fixed_multiplier": ({"scale": POSITIVE}, {}),
    "quantize_blocks": ({"x": X, "scales": np.uint8([[127], [126]])}, {"fmt": "mxfp4"}),
    "decode_blocks": ({"codes": CODES, "scales": np.uint8([[127], [126]])}, {"fmt": "mxfp4"}),
    "quantize_scaled": ({"x": X, "scale": ROWS}, {"fmt": "e4m3fn", "axis": 0}),
    "decode_scaled": ({"codes": CODES, "scale": ROWS}, {"fmt": "e4m3fn", "axis": 0}),
    "quantize_codebook": ({"x": X, "scale": ROWS}, {"book": "nf4", "axis": 0}),
    "decode_codebook": ({"codes": CODES, "scale": ROWS}, {"book": "nf4", "axis": 0}),
    "quantile_codebook": ({"x": X}, {"bits": 2}),
    "pack_bits": ({"codes": CODES}, {"bits": 4}),
    "unpack_bits": ({"packed": CODES}, {"bits": 4, "count": 8}),
    "qtorch_float_quantize": ({"x": X}, {"exponent_bits": 4, "mantissa_bits": 3}),
}
WITHOUT_ARRAYS = {"format", "product_table", "values"}


def public():
    """Return the public operations."""
    found = {name: getattr(rf, name) for name in rf.__all__}
    return {name: f for name, f in found.items() if inspect.isfunction(f) and name not in WITHOUT_ARRAYS}


def call_of(name):
    """Return the arrays of a good call and its other arguments: those of the table, or operands and a format."""
    if name in SPECIAL:
        return SPECIAL[name]
    parameters = [p.name for p in inspect.signature(getattr(rf, name)).parameters.values() if p.kind < 2]
    assert parameters[-1:] == ["fmt"] and set(parameters[:-1]) <= set("abcx"), f"{name}: add it to SPECIAL"
    operands = (X, POSITIVE, POSITIVE[::-1].copy())
    return dict(zip(parameters[:-1], operands, strict=False)), {"fmt": "e4m3fn"}


# -- the representations ---------------------------------------------------------------------------


class Subclass(np.ndarray):
    """A subclass without behaviour of its own."""


class Offers:
    """Something that turns itself into an array when asked."""

    def __init__(self, x):
        self.x = x

    def __array__(self, dtype=None, copy=None):
        return np.array(self.x, dtype)


def unaligned(x):
    raw = np.zeros(x.nbytes + 1, np.uint8)
    there = raw[1:].view(x.dtype).reshape(x.shape)
    there[...] = x
    return there


def strided(x):
    wide = np.full([3 * n for n in x.shape], 77, x.dtype)
    there = wide[tuple(slice(1, None, 3) for _ in x.shape)]
    there[...] = x
    return there


def in_records(x):
    records = np.zeros(x.shape, [("before", "u1"), ("x", x.dtype), ("after", "u2")])
    records["x"] = x
    return records["x"]


def read_only(x):
    x = x.copy()
    x.setflags(write=False)
    return x


def mapped(x):
    raw = np.frombuffer(bytearray(x.tobytes()), x.dtype).reshape(x.shape)
    return raw


def cropped(x):
    wide = np.zeros([n + 2 for n in x.shape], x.dtype)
    there = wide[tuple(slice(1, -1) for _ in x.shape)]
    there[...] = x
    return there


LAYOUTS = {
    "Fortran order": lambda x: np.asfortranarray(x),
    "every third": strided,
    "a crop": cropped,
    "backwards": lambda x: np.flip(np.flip(x).copy()),
    "transposed twice": lambda x: x.T.copy().T,
    "big-endian": lambda x: x.astype(x.dtype.newbyteorder(">")),
    "big-endian, every third": lambda x: strided(x.astype(x.dtype.newbyteorder(">"))),
    "read-only": read_only,
    "unaligned": unaligned,
    "a field of records": in_records,
    "a subclass": lambda x: x.copy().view(Subclass),
    "a buffer": mapped,
}
CONTAINERS = {
    "lists": lambda x: x.tolist(),
    "tuples": lambda x: tuple(map(tuple, x.tolist())) if x.ndim > 1 else tuple(x.tolist()),
    "a list of arrays": lambda x: list(x),
    "a memoryview": lambda x: memoryview(x),
    "an object with __array__": Offers,
    "wider numbers": lambda x: x.astype(np.float64 if x.dtype.kind == "f" else np.int64),
    "the widest unsigned integers": lambda x: x.astype(np.uint64) if x.dtype.kind in "iu" else x,
    "half precision": lambda x: x.astype(np.float16) if x.dtype.kind == "f" else x,
    "an array of the standard library": lambda x: array.array("f", x) if x.dtype == "f" and x.ndim == 1 else x,
    "a tensor": lambda x: sys.modules["torch"].from_numpy(x.copy()),
    "a table": lambda x: sys.modules["pandas"].DataFrame(x),
}


def plain(result):
    """Return a result as a list of arrays."""
    if isinstance(result, tuple):
        return [one for part in result for one in plain(part)]
    return [np.array(result.values() if isinstance(result, rf.CodeBook) else result)]


def differ(one, other, bits):
    """Tell whether results differ: in bits and dtypes, or in values."""
    for a, b in zip(plain(one), plain(other), strict=True):
        if a.shape != b.shape or (bits and (a.dtype != b.dtype or a.tobytes() != b.tobytes())):
            return True
        if not bits and not (a.astype(str) == b.astype(str)).all() and not np.array_equal(a, b, equal_nan=True):
            return True
    return False


@pytest.mark.parametrize("name", public())
def test_arrays_give_the_same_bits_however_they_lie(name):
    given, rest = call_of(name)
    expected = getattr(rf, name)(**given, **rest)
    faults = []
    for argument, x in given.items():
        for label, made in LAYOUTS.items():
            there = made(x)
            assert (np.asarray(there) == x).all() and there.shape == x.shape
            try:
                got = getattr(rf, name)(**{**given, argument: there}, **rest)
            except Exception as error:
                faults.append(f"{argument}, {label}: {type(error).__name__}: {error}")
                continue
            if differ(got, expected, bits=True):
                faults.append(f"{argument}, {label}: other bits")
            if (np.asarray(there) != x).any():
                faults.append(f"{argument}, {label}: the input was changed")
    assert not faults, "\n".join(faults)


@pytest.mark.parametrize("name", public())
def test_other_containers_give_the_same_values_or_one_error_that_names_the_argument(name):
    given, rest = call_of(name)
    expected = getattr(rf, name)(**given, **rest)
    faults = []
    for argument, x in given.items():
        for label, made in CONTAINERS.items():
            if label in ("a tensor", "a table"):
                package = {"a tensor": "torch", "a table": "pandas"}[label]
                if x.ndim < 2 or not (package in sys.modules or _importable(package)):
                    continue
            try:
                got = getattr(rf, name)(**{**given, argument: made(x)}, **rest)
            except (TypeError, ValueError) as error:
                if not str(error).startswith((f"{name}: {argument} is", f"{name}: {argument}[")):
                    faults.append(f"{argument}, {label}: {type(error).__name__}: {error}")
                continue
            if differ(got, expected, bits=False):
                faults.append(f"{argument}, {label}: other values")
    assert not faults, "\n".join(faults)


def _importable(package):
    try:
        __import__(package)
    except ImportError:
        return False
    return True


@pytest.mark.parametrize("name", public())
def test_masked_arrays_and_objects_are_refused_by_every_operation(name):
    given, rest = call_of(name)
    for argument, x in given.items():
        for wrong in (np.ma.array(x, mask=x == x.flat[0]), x.astype(object), x.astype(complex), x.astype(str)):
            with pytest.raises(TypeError, match=f"^{name}: {argument} is"):
                getattr(rf, name)(**{**given, argument: wrong}, **rest)


BY_ROWS = {"dot", "matmul", "matmul_int", "matmul_int16", "matmul_lookup", "quantile_codebook"}


@pytest.mark.parametrize("name", [name for name in public() if name not in BY_ROWS])
def test_no_elements_give_no_elements(name):
    given, rest = call_of(name)
    empty = {argument: x[:0] for argument, x in given.items()}
    assert plain(getattr(rf, name)(**empty, **rest))[0].size == 0


SINGLE = [
    name for name in public() if name not in SPECIAL or name in ("quantize", "encode", "decode", "compare", "classify")
]


@pytest.mark.parametrize("name", SINGLE)
def test_a_single_number_gives_what_it_gives_in_an_array(name):
    given, rest = call_of(name)
    expected = plain(getattr(rf, name)(**given, **rest))[0]
    for index in ((0, 1), (1, 2)):
        one = plain(getattr(rf, name)(**{argument: x[index] for argument, x in given.items()}, **rest))[0]
        assert one.shape == () and one.tobytes() == expected[index].tobytes()


@pytest.mark.parametrize("shift", [-3, -1, 0, 1, 2, 8, 40])
@pytest.mark.parametrize("name", ["quantize", "encode", "decode"])
def test_an_out_that_overlaps_the_input_gives_the_same_bits_or_is_refused(name, shift):
    values = np.resize(X, 40)
    x = values if name != "decode" else np.resize(CODES, 40)
    result = getattr(rf, name)(x, "e4m3fn")
    memory = np.zeros(2048, np.uint8)
    source = memory[800 : 800 + x.nbytes].view(x.dtype)
    source[...] = x
    out = memory[800 + 8 * shift :][: result.nbytes].view(result.dtype)
    try:
        got = getattr(rf, name)(source, "e4m3fn", out=out)
    except ValueError as error:
        assert str(error).startswith(f"{name}: out overlaps ") and (source == x).all()
        return
    assert got is out and got.tobytes() == result.tobytes()
