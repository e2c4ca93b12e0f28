"""MMA-Sim (Xie, Wang, Yang, Yang, arXiv 2511.10909), the public model of matrix units: instructions, bit by bit.

Numbers of like and of very different sizes, zeros and any codes at all; of AMD's units numbers alone.  Left out are
tcgen05, whose arithmetic in the model is that of these, float64, and float32 sums that begin with a float16.

Version 2.1.1 is another model than ours, which follows the paper, where hardly any of these cases lead:

* a product with a zero has an exponent of its own there, of -131 to -133 (-19 to -21 into float16, -139 with scales in
  pairs); here it is -126 and the other factor's: bfloat16's 0 * 2^112 + 2^-40 is 2^-40 there, 0 here;
* CDNA1 adds a group exactly and rounds once there, here in pairs, in float32;
* CDNA3 keeps a bit more of a sum and cuts once more there; an infinity that meets products of 2^128 or more of the
  other sign is NaN there, infinite here; and NaN or infinity that FP8 sums begin with is forgotten there beside large
  products.
"""

import re
import warnings
from dataclasses import replace

import numpy as np
import pytest

import refimpl as rf
from refimpl.formats.units import unit as unit_of

torch = pytest.importorskip("torch", reason="the peer MMA-Sim needs PyTorch")
pytest.importorskip("mmasim", reason="the peer MMA-Sim (mmasim) is not installed")
try:
    from mmasim.amd import isa_mfma
    from mmasim.amd import sim as amd
    from mmasim.nv_ptx import isa_mma, sim
except Exception as error:  # it compiles a part of itself when it is imported
    pytest.skip(f"the peer MMA-Sim does not compile: {error}", allow_module_level=True)

FORMATS = {
    "f16": "float16", "bf16": "bfloat16", "tf32": "float32", "xf32": "float32", "f32": "float32",
    "e4m3": "float8_e4m3fn", "e5m2": "float8_e5m2", "fp8": "float8_e4m3fnuz", "bf8": "float8_e5m2fnuz",
    "e2m3": "float6_e2m3fn", "e3m2": "float6_e3m2fn", "e2m1": "float4_e2m1fn",
    "ue8m0": "float8_e8m0fnu", "ue4m3": "float8_e4m3fn",
}  # fmt: skip
ARCHITECTURES = {
    name: name.lower().replace("ada lovelace", "ada").replace(" ", "-") for name in isa_mma.mma_shape_and_type
}
KINDS = ("near", "wide", "any")


def codes(rng, shape, fmt, kind):
    """Return codes of numbers of like or of very different sizes, zeros among them, or any codes at all."""
    f = rf.format(fmt)
    dtype = {1: np.uint8, 2: np.uint16, 4: np.uint32}[max(f.bits // 8, 1)]
    if kind == "any":
        return rng.integers(0, 1 << f.bits, shape).astype(dtype)
    spread = 2 if kind == "near" else 12
    x = np.ldexp(rng.uniform(1, 2, shape) * rng.choice([-1, 1], shape), rng.integers(-spread, spread + 1, shape))
    x[rng.random(shape) < 0.1] = 0
    return rf.encode(abs(x) if fmt == "float8_e8m0fnu" else x, fmt, overflow="saturate", nan="zero").astype(dtype)


def tensor(code, fmt, packed=False):
    """Return codes as the model takes them: small floats in bytes, each in its lower or upper bits, or two to one."""
    bits = rf.format(fmt).bits
    if packed:
        return torch.from_numpy((code[..., ::2] << 4 | code[..., 1::2]).astype(np.uint8))
    if bits < 8:
        return torch.from_numpy((code << (6 - bits)).astype(np.uint8))
    signed = code.view({1: np.uint8, 2: np.int16, 4: np.int32}[code.itemsize])
    return torch.from_numpy(signed.copy()).view(getattr(torch, fmt))


def agree(operation, name, first, second, k, out="float32", terms=None, scales=None, kinds=KINDS):
    """Hold an instruction to the unit: 16 x k times k x 8, of numbers of every kind."""
    unit = unit_of(name) if terms is None else replace(unit_of(name), terms=terms)
    for seed, kind in enumerate(kinds):
        rng = np.random.default_rng((seed, k))
        a, b, c = codes(rng, (16, k), first, kind), codes(rng, (8, k), second, kind), codes(rng, (16, 8), out, kind)
        c[rng.random(c.shape) < 0.3] = 0
        given, more = [tensor(a, first, k == 64), tensor(b, second, k == 64).T, tensor(c, out)], {}
        if scales:
            block, fmt = scales
            of = [codes(rng, (rows, k // block), fmt, "near") & 0x7F for rows in (16, 8)]
            given += [tensor(of[0], fmt), tensor(of[1], fmt).T]
            more = {"scales": (rf.decode(of[0], fmt), rf.decode(of[1], fmt).T), "scale_format": fmt}
            if block != unit.block:
                unit = replace(unit, block=block)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            expected = operation(*given).float().numpy()
        a, b = rf.decode(a, first, dtype=np.float32), rf.decode(b, second, dtype=np.float32).T
        if out == "float16":
            more["accumulate"] = out
        found = rf.matmul(a, b, (first, second), unit=unit, initial=rf.decode(c, out), **more)
        nan = np.isnan(expected) & np.isnan(found)
        same = (expected == found) & (np.signbit(expected) == np.signbit(found)) | nan
        assert same.all(), (operation.shape_and_type if hasattr(operation, "shape_and_type") else name, kind)


def instruction(text):
    """Return k and the types of a name such as m16n8k32.f32.e4m3.e5m2.f32: of the result, and of the operands."""
    shape, *types = [part for part in text.split(".") if not part.startswith(("kind", "block"))]
    return int(shape.partition("k")[2]), *types[:3]


def family(kind):
    return "fp8" if kind.startswith("e") else kind


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_instruction_of_nvidia_s_is_the_unit_bit_for_bit(architecture):
    tried = 0
    for text in isa_mma.mma_shape_and_type[architecture]:
        k, out, first, second = instruction(text)
        if first == "f64" or text.split(".")[-1] != out:
            continue
        old = architecture == "Turing" and k == 4  # Volta's
        name = f"{'volta' if old else ARCHITECTURES[architecture]}-{family(first)}"
        terms = k if k < unit_of(name).terms else None
        out = "float16" if out == "f16" else "float32"
        agree(sim.MMA(architecture, text), name, FORMATS[first], FORMATS[second], k, out, terms)
        tried += 1
    assert tried >= 2


@pytest.mark.parametrize("out", ["f32", "f16"])
def test_every_instruction_of_a_warp_group_is_the_unit_bit_for_bit(out):
    pairs = [(a, b) for a in ("e4m3", "e5m2") for b in ("e4m3", "e5m2")]
    for first, second in [*pairs, ("f16", "f16"), *((("bf16", "bf16"), ("tf32", "tf32")) if out == "f32" else ())]:
        k = {"t": 8, "e": 32}.get(first[0], 16)
        operation = sim.WGMMA("Hopper", f"m64n8k{k}.{out}.{first}.{second}")
        agree(
            operation,
            f"hopper-{family(first)}",
            FORMATS[first],
            FORMATS[second],
            k,
            {"f16": "float16"}.get(out, "float32"),
        )


@pytest.mark.parametrize("text", isa_mma.mma_block_scale_shape_and_type["RTX Blackwell"])
def test_every_instruction_with_block_scales_is_the_unit_bit_for_bit(text):
    k, _, first, second = instruction(text)
    scale, block = text.split(".")[-1], int(text.partition("block")[2][:2])
    name = "mxfp8" if k == 32 else "nvfp4" if scale == "ue4m3" else "mxfp4"
    operation = sim.MMABlockScale("RTX Blackwell", text)
    pair = FORMATS[first], FORMATS[second]
    agree(operation, f"rtx-blackwell-{name}", *pair, k, scales=(block, FORMATS[scale]), kinds=("near", "wide"))


@pytest.mark.parametrize("architecture", ["CDNA2", "CDNA3"])
def test_every_instruction_of_amd_s_is_the_unit_bit_for_bit(architecture):
    tried = 0
    for text in getattr(isa_mfma, f"{architecture.lower()}_mfma_suffix"):
        # f32_16x16x16bf16_1k, f32_32x32x4_2b_f16, f32_16x16x32_bf8_fp8
        found = re.fullmatch(r"f32_\d+x\d+x(\d+)_?(?:\d+b_)?([a-z]+\d+)(?:_([a-z]+\d+))?(_1k)?", text)
        if not found:
            continue
        k, kinds = int(found[1]), [found[2], found[3] or found[2]]
        name = {"bf8": "fp8"}.get(kinds[0], kinds[0]) + ("-1k" if text.endswith("_1k") else "")
        pair = FORMATS[kinds[0]], FORMATS[kinds[-1]]
        agree(amd.MFMA(architecture, text), f"{architecture.lower()}-{name}", *pair, k, kinds=("near", "wide"))
        tried += 1
    assert tried >= 5
