"""Known defects of the scales of blocks: of powers of two, and of two levels (NVFP4); the likeliest first."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from refimpl import ops
from refimpl.formats import SCALE_RULES, BlockFormat, FloatFormat, names
from refimpl.formats import format as format_of
from refimpl.testing.diagnosis import block_stages as right
from refimpl.testing.diagnosis.block_stages import exponents, is_dynamic, largest_of_all
from refimpl.testing.diagnosis.stages import Defect
from refimpl.testing.expected.behaviour import step_above
from refimpl.testing.expected.quotients import fewer, quotient, single, through


def of_powers(behaviour, fmt: BlockFormat) -> Iterator[Defect]:
    low, high = -fmt.scale.bias, fmt.scale.max_code - fmt.scale.bias
    top, power = float(fmt.grid.max), fmt.max_exponent
    for rule in SCALE_RULES:
        if rule != behaviour.rule:
            yield Defect(f"has the scale rule {rule}", {"power": lambda p, a, rule=rule: exponents(rule, a, fmt)})

    def rounded(sentence, work):
        return Defect(sentence, {"power": lambda p, a: work(a)})

    def log2(a, kind):
        with np.errstate(all="ignore"):
            return np.log2(a.astype(kind)).astype(np.float64)

    whole = {"floor": np.floor, "ceil": np.ceil, "nearest": np.rint}
    word = behaviour.rule if behaviour.rule in ("floor",) else "ceil"
    for kind in (np.float32, np.float64):
        inexact = f"computes the scale by a logarithm in {np.dtype(kind).name}, which is inexact"
        yield rounded(inexact, lambda a, k=kind: whole[word](log2(a, k)) - power)
        if behaviour.rule == "ceil":
            yield rounded(inexact, lambda a, k=kind: np.ceil(log2(quotient(a, top), k)))
            yield rounded(inexact, lambda a, k=kind: np.ceil(log2(a.astype(k) / k(top), k)))
    for name, work in whole.items():
        yield rounded(
            f"rounds the logarithm of the largest magnitude: {name}", lambda a, w=work: w(log2(a, float)) - power
        )
        yield rounded(
            f"rounds the logarithm of largest magnitude / {top:g}: {name}", lambda a, w=work: w(log2(a / top, float))
        )
    yield rounded(
        "rounds the largest magnitude to the nearest power of two",
        lambda a: np.frexp(a)[1] - 1.0 + (np.frexp(a)[0] >= 0.75) - power,
    )
    yield rounded(f"takes the exponent of largest magnitude / {top:g}: floor", lambda a: _binade(quotient(a, top)))
    yield rounded(
        f"takes the exponent of largest magnitude / {top:g}, plus one", lambda a: _binade(quotient(a, top)) + 1
    )
    kinds = {"float32": single, "float64": lambda s: s, "bfloat16": _to("bfloat16"), "float16": _to("float16")}
    for divisor in dict.fromkeys((top, 2.0**power, 2.0 ** (power + 1))):
        for name, rounding in kinds.items():
            yield Defect(
                f"has scales of largest magnitude / {divisor:g} in {name}, which are no powers of two",
                {"of_no_power": lambda p, a, d=divisor, w=rounding: np.where(a == 0, 1.0, w(a / d))},
            )
    for bits in range(1, 8):
        if bits != fmt.grid.mantissa_bits or behaviour.rule != "even":
            yield rounded(
                f"rounds the largest magnitude to {bits} mantissa bits before its exponent is taken",
                lambda a, bits=bits: np.frexp(fewer(a, bits))[1] - 1.0 - power,
            )
    yield rounded(
        f"computes the quotient by {top:g} in float32",
        lambda a: (
            exponents("floor", single(single(a) / np.float32(top)) * 2.0**power, fmt)
            + (np.frexp(single(single(a) / np.float32(top)))[0] > 0.5) * (behaviour.rule == "ceil")
        ),
    )
    for k in [*range(1, 17), *range(-1, -17, -1)]:
        many = "twice" if abs(k) == 1 else f"2^{abs(k)} times"
        shifted = lambda p, a, k=k: exponents(behaviour.rule, a, fmt) + k  # noqa: E731
        yield Defect(f"has scales {many} too {'large' if k > 0 else 'small'}", {"power": shifted})
    for k, amount in (
        (1, "twice too large"),
        (-1, "twice too small"),
        (2, "2^2 times too large"),
        (-2, "2^2 times too small"),
    ):
        yield Defect(
            f"has scales {amount}, after they are clamped", {"clamp": lambda p, e, k=k: np.clip(e, low, high) + k}
        )
    for least in (low + 1, low + 2):
        yield Defect(f"never uses scales below 2^{least}", {"clamp": lambda p, e, least=least: np.clip(e, least, high)})
    for most in (high - 1, high - 2):
        yield Defect(f"never uses scales above 2^{most}", {"clamp": lambda p, e, most=most: np.clip(e, low, most)})
    yield Defect(
        "gives the scale code 255, which is NaN, where scales are too large",
        {"clamp": lambda p, e: np.where(e > high, np.nan, np.maximum(e, low))},
    )
    yield Defect("does not clamp scales", {"clamp": lambda p, e: np.where(e == -np.inf, low, e)})
    yield Defect(
        "does not clamp small scales", {"clamp": lambda p, e: np.where(e == -np.inf, low, np.minimum(e, high))}
    )
    yield Defect("does not clamp large scales", {"clamp": lambda p, e: np.maximum(e, low)})
    for sentence, value in (("NaN", np.nan), ("zero", -np.inf)):
        yield Defect(
            f"gives blocks {sentence} whose scale would be too small",
            {"clamp": lambda p, e, v=value: np.where((e < low) & (e != -np.inf), v, np.clip(e, low, high))},
        )

    def wrapped(e):
        return np.mod(np.nan_to_num(e, neginf=low) + fmt.scale.bias, 256)

    yield Defect(
        "wraps scale codes around", {"clamp": lambda p, e: np.where(wrapped(e) == 255, np.nan, wrapped(e) + low)}
    )
    yield Defect("flushes the smallest scale, a subnormal float32, to zero", {"used": _flushed, "kept": _flushed})
    yield Defect(
        "flushes the smallest scale, a subnormal float32, to zero, where elements are multiplied", {"kept": _flushed}
    )
    yield Defect("flushes the smallest scale, a subnormal float32, to zero, where they are divided", {"used": _flushed})
    yield Defect(
        "multiplies by the reciprocal of the scale, which float32 flushes to zero where it is subnormal",
        {"divide": lambda p, b, s, t: np.where(1 / s < 2.0**-126, np.copysign(0.0, b), quotient(b, s))},
    )
    for k, many, last in ((1, "large", high), (-1, "small", low)):
        yield Defect(
            f"writes scale codes one too {many}",
            {"kept": lambda p, s, k=k, last=last: np.where(s == 2.0**last, np.nan, s * 2.0**k)},
        )
        yield Defect(f"decodes scales twice too {many}", {"kept": lambda p, s, k=k: s * 2.0**k})


def _to(name: str) -> Callable:
    return lambda s: through(s, name)


def _binade(a):
    return np.frexp(a)[1] - 1.0


def _flushed(p, s):
    return np.where(s < 2.0**-126, 0.0, s)


def of_two_levels(behaviour, fmt: BlockFormat) -> Iterator[Defect]:
    top, most = float(fmt.grid.max), float(fmt.scale.max)

    if is_dynamic(behaviour):
        parts: dict[str, Callable] = {
            "leaves the tensor scale out": lambda p, a: np.float64(1.0),
            f"takes the tensor scale for the largest magnitude / {top:g}": lambda p, a: right.tensor_scale(a, top),
            f"takes the tensor scale for the largest magnitude / {most:g}": lambda p, a: right.tensor_scale(a, most),
            "has a tensor scale for each row": lambda p, a: _of_rows(a, top * most),
            "rounds the tensor scale to bfloat16": lambda p, a: through(right.tensor_scale(a, top * most), "bfloat16"),
            "rounds the tensor scale to float16": lambda p, a: through(right.tensor_scale(a, top * most), "float16"),
            "lets tensor scales become zero or infinite": lambda p, a: np.where(
                largest_of_all(a) == 0, 1.0, single(quotient(largest_of_all(a), top * most))
            ),
            "lets tensor scales become infinite": lambda p, a: np.where(
                single(quotient(largest_of_all(a), top * most)) == 0,
                1.0,
                single(quotient(largest_of_all(a), top * most)),
            ),
            "does not round the tensor scale to float32": lambda p, a: np.where(
                largest_of_all(a) == 0, 1.0, largest_of_all(a) / (top * most)
            ),
            "divides by the tensor scale's reciprocal, rounded to float32": lambda p, a: (
                1 / single(top * most / largest_of_all(a))
            ),
        }
        for power, word in ((np.floor, "down"), (np.ceil, "up"), (np.rint, "to the nearest")):
            parts[f"rounds the tensor scale {word} to a power of two"] = lambda p, a, power=power: (
                2.0 ** power(np.log2(right.tensor_scale(a, top * most)))
            )
        for other in (256.0, 240.0, 416.0, 480.0, 57344.0):
            if other != most:
                parts[f"takes {other:g} for the largest scale"] = lambda p, a, other=other: right.tensor_scale(
                    a, top * other
                )
        for sentence, stage in parts.items():
            yield Defect(sentence, {"tensor": stage})
        for least in (1e-12, 1e-10, 1e-8, 1e-6, 1e-5, 1e-4, 2.0**-126):
            yield Defect(
                f"has no tensor scale below {least:g}",
                {"tensor": lambda p, a, least=least: single(np.maximum(right.tensor_scale(a, top * most), least))},
            )
            yield Defect(
                f"takes largest magnitudes of tensors below {least:g} for {least:g}",
                {"tensor": lambda p, a, v=least: single(np.maximum(largest_of_all(a), v) / (top * most))},
            )
    else:
        yield Defect("leaves the tensor scale out", {"tensor": lambda p, a: np.float64(1.0)})
        yield Defect(
            "computes a tensor scale instead of taking the given",
            {"tensor": lambda p, a: right.tensor_scale(a, top * most)},
            needs_all=True,
        )
    yield Defect("leaves the tensor scale out of the results", {"product": lambda p, e, s, t: e * s})
    yield Defect("leaves the tensor scale out of the block scales", {"ratio": lambda p, a, t: quotient(a, top)})
    yield Defect("leaves the tensor scale out of the elements", {"divide": lambda p, b, s, t: quotient(b, s)})
    yield Defect("divides results by the tensor scale", {"product": lambda p, e, s, t: e * s / t})
    for other in (1.0, 4.0, 5.0, 7.0, 8.0, 12.0):
        if other != top:
            yield Defect(
                f"takes {other:g} for the largest element", {"ratio": lambda p, a, t, v=other: quotient(a, v * t)}
            )

    def rounded(rounding, overflow="saturate", of=fmt.scale):
        return lambda p, r: ops.quantize(r, of, rounding=rounding, overflow=overflow)

    words = {"toward_zero": "down", "toward_positive": "up", "ties_to_away": "ties away from zero", "to_odd": "to odd"}
    for mode, word in words.items():
        yield Defect(f"rounds block scales {word}", {"scale": rounded(mode)})
    last = most + step_above(fmt.scale) / 2
    said = "does not clamp block scales: those beyond the largest "
    yield Defect(said + "become NaN", {"scale": lambda p, r: np.where(r > last, np.nan, rounded("ties_to_even")(p, r))})
    yield Defect(
        said + "become NaN", {"scale": lambda p, r: np.where(r >= last, np.nan, rounded("ties_to_even")(p, r))}
    )
    yield Defect(said + "become NaN", {"scale": lambda p, r: np.where(r > most, np.nan, rounded("ties_to_even")(p, r))})
    yield Defect(
        said + "become infinity", {"scale": lambda p, r: np.where(r > last, np.inf, rounded("ties_to_even")(p, r))}
    )
    yield Defect(
        said + "go on",
        {"scale": lambda p, r: np.where(r > last, fewer(r, fmt.scale.mantissa_bits), rounded("ties_to_even")(p, r))},
    )
    yield Defect(
        said + "stay as they are", {"scale": lambda p, r: np.where(r > most, single(r), rounded("ties_to_even")(p, r))}
    )
    yield Defect("does not round block scales", {"scale": lambda p, r: single(r)})
    yield Defect("does not round block scales", {"ratio": lambda p, a, t: a / (top * t), "scale": lambda p, r: r})
    yield Defect("does not round block scales", {"scale": lambda p, r: np.minimum(single(r), most)})
    for power, word in ((np.floor, "down"), (np.ceil, "up"), (np.rint, "to the nearest")):
        yield Defect(
            f"rounds block scales {word} to powers of two",
            {"scale": lambda p, r, power=power: np.where(r == 0, 0.0, np.minimum(2.0 ** power(np.log2(r)), 2.0**127))},
        )
    for name in names():
        other = format_of(name)
        if isinstance(other, FloatFormat) and other.bits == fmt.scale.bits and other not in (fmt.scale,):
            if other.fits_float64:
                yield Defect(f"has block scales of {name}", {"scale": rounded("ties_to_even", of=other)})
    normal = float(fmt.scale.smallest_normal)
    least = float(fmt.scale.smallest_subnormal)

    def flushed(p, r):
        s = rounded("ties_to_even")(p, r)
        return np.where(s < normal, 0.0, s)

    yield Defect("flushes subnormal block scales to zero", {"scale": flushed})
    yield Defect(
        "flushes subnormal block scales to zero, where they are decoded",
        {"kept": lambda p, s: np.where(s < normal, 0.0, s)},
    )
    for value, word in ((least, "the smallest scale"), (normal, "the smallest normal scale"), (2.0**-6, "2^-6")):
        yield Defect(
            f"takes {word} for block scales that round to zero", {"zero": lambda p, s, v=value: np.where(s == 0, v, s)}
        )
        yield Defect(f"has no block scales below {word}", {"zero": lambda p, s, v=value: np.maximum(s, v)})
    for value, word in ((np.nan, "NaN"), (0.0, "zero")):
        yield Defect(
            f"gives {word} for blocks whose scale rounds to zero",
            {
                "zero": lambda p, s: np.where(s == 0, np.inf if p else 1.0, s),
                "product": lambda p, e, s, t, v=value: np.where(
                    np.isinf(s), np.where(e == 0, np.copysign(v, e), v), e * (s * t)
                ),
            },
        )
    yield Defect("divides by block scales that are zero", {"zero": lambda p, s: s})
    f32 = np.float32
    quotients = {
        f"(a / {top:g}) / t": lambda a, t: single(single(a / f32(top)) / t),
        f"a / ({top:g} * t)": lambda a, t: single(a / single(top * t)),
        f"(a / t) / {top:g}": lambda a, t: single(single(a / t) / f32(top)),
        f"(a * (1 / {top:g})) / t": lambda a, t: single(single(a * single(1 / top)) / t),
        f"a * (1 / ({top:g} * t))": lambda a, t: single(a * single(1 / single(top * t))),
        f"(a / {top:g}) * (1 / t)": lambda a, t: single(single(a / f32(top)) * single(1 / t)),
        f"(a * (1 / t)) / {top:g}": lambda a, t: single(single(a * single(1 / t)) / f32(top)),
        f"(a * (1 / t)) * (1 / {top:g})": lambda a, t: single(single(a * single(1 / t)) * single(1 / top)),
        f"(a * (1 / {top:g})) * (1 / t)": lambda a, t: single(single(a * single(1 / top)) * single(1 / t)),
    }
    for how, work in quotients.items():
        yield Defect(
            f"computes block scales in float32, as {how}", {"ratio": lambda p, a, t, work=work: work(single(a), t)}
        )
    for name in ("bfloat16", "float16"):
        yield Defect(
            f"rounds block scales to {name} first", {"ratio": lambda p, a, t, n=name: through(quotient(a, top * t), n)}
        )


def _of_rows(a, parts):
    top = np.where(np.isnan(a), 0.0, a).max(axis=(2, 3), keepdims=True)
    found = np.clip(quotient(top, parts), right.SMALLEST_FLOAT32, right.LARGEST_FLOAT32)
    return np.where(top == 0, 1.0, single(found))
