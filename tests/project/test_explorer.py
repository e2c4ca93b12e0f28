"""The format explorer: a page whose arithmetic, run in a real browser, is that of `refimpl.spec`."""

import html
import importlib
import json
import os
import random
import re
import shutil
import subprocess
import tempfile
from fractions import Fraction
from itertools import product
from pathlib import Path

import pytest

from refimpl import formats
from refimpl.commands.explore import PAGE
from refimpl.formats import floats, modes
from refimpl.spec import blocks, codebooks, float_codes, integers, posits
from refimpl.spec.float_codes import Value

TEXT = PAGE.read_text(encoding="utf-8")
CATALOGUE = json.loads(re.search(r'id="catalogue">(.*?)</script>', TEXT, re.S)[1])
BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
in_a_browser = pytest.mark.skipif(BROWSER is None, reason="there is no chromium or google-chrome here")

MODES = modes.ROUNDINGS[:6]
SYSTEMATIC = (
    "e4m3 e5m2 e2m5 e0m7 e1m6 e6m1 e7m0 e0m3fn e1m2ieee e2m3fnuz e3m2b5 e2m2b-3p3109e e4m3_flush e4m3ieee_flush "
    "e3m3fnuz_flush e4m3_unsigned e4m3fn_unsigned e4m3ieee_unsigned e3m2_unsigned_flush e5m0scale e3m2scale e2m2b9scale"
).split()
P3109 = [name for k in (3, 4, 5, 6) for name in formats.p3109_names(k)] + [
    f"binary8p{p}{kind}" for p in (1, 3, 4, 7) for kind in ("se", "sf", "ue", "uf")
]
SMALL = [name for name, fmt in floats.FLOATS.items() if fmt.bits <= 8] + SYSTEMATIC + P3109
LARGE = ["float16", "bfloat16", "tf32", "float32", "float64", "e16m46", "binary16p9uf", "e5m10_flush", "e11m4fnuz"]
POSITS = ["posit3_0", "posit6_1", "posit8_0", "posit8_2", "posit16_2", "posit32_2", "posit32_5"]
INTEGERS = ["int1_full", "int2", "int4", "int4_full", "int8", "int8_full", "uint1", "uint4", "uint8", "int16"]
BLOCKS = [
    "blocks of 16 float6_e2m3fn scaled by float8_e8m0fnu",
    "blocks of 1 float8_e4m3fn scaled by e5m0scale_unsigned",
    "blocks of 3 bfloat16 scaled by float8_e8m0fnu",
    "blocks of 7 float16 scaled by e11m0scale_unsigned",
    "blocks of 128 e3m3_flush scaled by float8_e8m0fnu",
    "blocks of 5 binary8p3se scaled by e8m0b3scale_unsigned",
    "blocks of 8 int2 scaled by float8_e8m0fnu",
    "blocks of 6 int16 scaled by e6m0scale_unsigned",
    "blocks of 16 e0m3 scaled by float8_e8m0fnu",
    "blocks of 2 float8_e4m3fnuz scaled by float8_e8m0fnu",
    "blocks of 16 float4_e2m1fn scaled by float8_e5m2 and float32",
    "blocks of 4 float6_e3m2fn scaled by bfloat16 and float32",
    "blocks of 4 float8_e4m3 scaled by e3m3fn_unsigned and float32",
    "blocks of 9 e4m2_flush scaled by e4m3ieee_unsigned_flush and float32",
]
"""Chosen by their parts, not named."""

CHECK = Path(__file__).with_name("explorer_check.js").read_text(encoding="utf-8")


def verdict(directory, vectors, page=TEXT, address=""):
    """Return what a browser finds in a copy of the page: how many were compared, and which were wrong."""
    script = f"<script>const VECTORS = {json.dumps(vectors)};</script><script>{CHECK}</script></body>"
    file = Path(directory) / "explorer.html"
    file.write_text(page.replace("</body>", script), encoding="utf-8")
    command = [BROWSER, "--headless", "--disable-gpu", "--dump-dom"]
    command += ["--disable-ipc-flooding-protection"]  # which forgets addresses that change as fast as here
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        command += ["--no-sandbox", "--disable-dev-shm-usage"]  # as in the containers of CI
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        command += [f"--user-data-dir={profile}", file.as_uri() + address]
        done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    found = re.search(r'<pre id="verdict">(.*?)</pre>', done.stdout, re.S)
    assert found, done.stderr[-2000:]
    return json.loads(html.unescape(found[1]))


def text(value):
    """Return a Value, or a number, as the check reads it."""
    if not isinstance(value, Value):
        value = Value("finite", value < 0, abs(Fraction(value)))
    sign = "-" if value.negative else ""
    short = {"nan": "nan", "infinite": "inf"}.get(value.kind)
    return sign + (short or f"{value.magnitude.numerator:#x}/{value.magnitude.denominator:#x}")


def texts(values):
    return " ".join(map(text, values))


SPECIALS = [Value(kind, negative) for kind in ("nan", "infinite", "finite") for negative in (False, True)]


def around(magnitudes):
    """Return the values at, between and closely around neighbouring magnitudes, of both signs."""
    found = []
    for a, b in zip(magnitudes, magnitudes[1:], strict=False):
        tiny = (b - a) / 2**40
        found += [a, a + tiny, (a + b) / 2 - tiny, (a + b) / 2, (a + b) / 2 + tiny, b - tiny]
    return [Value("finite", negative, x) for x in found if x > 0 for negative in (False, True)]


def magnitudes(fmt):
    """Return the values above zero, two more as if the exponents went on, and zero or half the least before them."""
    codes = range(0 if fmt.has_subnormals or not fmt.has_zero else 2**fmt.mantissa_bits - 1, fmt.max_code + 3)
    found = [float_codes.magnitude(code, fmt) for code in codes]
    return found if fmt.has_zero else [found[0] / 4, *found]


def encoded(name, values, rules):
    """Return the codes of values by each rule."""
    fmt, rows = formats.format(name), []
    for rounding, overflow, nan, randoms, bits in rules:
        codes = []
        for i, value in enumerate(values):
            try:
                draw = randoms[i % len(randoms)]
                codes.append(str(float_codes.encode(value, fmt, rounding, overflow, nan, draw, bits)))
            except ValueError:
                codes.append("refused")
        rows.append([rounding, overflow, nan, randoms, bits, " ".join(codes)])
    return [name, texts(values), rows]


EVERY_RULE = [(mode, overflow, "zero", [0], 32) for mode in MODES for overflow in modes.OVERFLOWS]
STOCHASTIC = [
    ("stochastic_a", "overflow", "zero", [0, 1, 5, 6, 7], 3),
    ("stochastic_b", "saturate", "zero", [0, 3, 7], 3),
    ("stochastic_c", "propagate", "zero", [2, 200, 255], 8),
    ("stochastic", "overflow", "zero", [0, 2**31, 2**32 - 1], 32),
]
NAN_RULES = [("ties_to_even", "overflow", nan, [0], 32) for nan in modes.NAN_RULES]


def small_vectors(names):
    """Return every code of small formats, and values at, between, beside and beyond them under every rule."""
    decoded, codes = [], []
    for name in names:
        fmt = formats.format(name)
        decoded.append([name, texts(float_codes.decode(code, fmt) for code in range(2**fmt.bits))])
        ladder = magnitudes(fmt)
        ends = [*SPECIALS, *around([*ladder[:2]]), *around(ladder[-5:]), *around([ladder[-1] * 3, ladder[-1] * 2**70])]
        codes.append(encoded(name, ends, EVERY_RULE + STOCHASTIC + NAN_RULES))
        few = 1 if fmt.bits > 6 else 3  # in range, what is beyond it matters to no code: told of few bits
        rules = [rule for rule in EVERY_RULE if rule[1] in modes.OVERFLOWS[:few]]
        codes.append(encoded(name, around(ladder), rules + STOCHASTIC[:1]))
    return {"decode": decoded, "encode": codes}


def more_codes():
    """Return every code of the other small formats of P3109, and of all posits of at most 8 bits."""
    others = [name for k in (7, 8) for name in formats.p3109_names(k) if name not in SMALL]
    rows = [(name, float_codes) for name in others]
    rows += [(f"posit{n}_{es}", posits) for n in range(3, 9) for es in range(6)]
    found = [(name, formats.format(name), spec) for name, spec in rows]
    return [[name, texts(spec.decode(code, fmt) for code in range(2**fmt.bits))] for name, fmt, spec in found]


def near_vectors(draw):
    """Return values with their neighbours, found in the sorted list of all values, and the tie between them."""
    rows = []
    for name in [*SMALL[::3], *POSITS[:4]]:
        fmt = formats.format(name)
        spec = posits if name.startswith("posit") else float_codes
        found = [spec.decode(code, fmt) for code in range(2**fmt.bits)]
        values = sorted({-v.magnitude if v.negative else v.magnitude for v in found if v.kind == "finite"})
        for i in sorted(draw.sample(range(len(values) - 1), min(20, len(values) - 1))):
            a, b = values[i : i + 2]
            tie = (a + b) / 2
            if spec is posits:
                code = posits.round_to_code(abs(min(a, b, key=abs)), fmt) if a and b else 0
                sign = -1 if a < 0 else 1
                tie = sign * posits.magnitude(2 * code + 1, fmt.bits + 1, fmt.exponent_bits) if code else Fraction(0)
            part = a + (b - a) * Fraction(draw.randrange(1000), 1000)
            rows.append([name, text(part), *(f"{x.numerator}/{x.denominator}" for x in (a, b, tie))])
    return rows


def large_vectors(draw, count=12_000):
    """Return values in and around large formats, log-uniform and at ties, and decimals as people type them."""
    codes, typed = [], []
    for name in LARGE:
        fmt, values = formats.format(name), list(SPECIALS)
        for _ in range(count // 8):
            code = draw.randrange(fmt.max_code + 2) if draw.random() < 0.9 else draw.choice([0, 1, fmt.max_code])
            a, b = (float_codes.magnitude(c, fmt) for c in (code, code + 1))
            part = draw.choice([Fraction(0), Fraction(1, 2), Fraction(1, 2**60), Fraction(draw.random())])
            values.append(Value("finite", draw.random() < 0.5, a + (b - a) * part))
        rules = draw.sample(EVERY_RULE, 6 if fmt.exponent_bits < 12 else 2) + STOCHASTIC[:2]
        codes.append(encoded(name, values if fmt.exponent_bits < 12 else values[:200], rules))
        words = []
        for _ in range(count // 12):
            digits = str(draw.randrange(10 ** draw.randrange(1, 20)))
            point = draw.randrange(len(digits) + 1)
            shift = draw.randrange(-12, 12) if fmt.bits < 20 else draw.randrange(-45, 38)
            words.append(f"{draw.choice(['', '-'])}{digits[:point]}.{digits[point:]}e{shift - point}")
        exact = [Value("finite", word[0] == "-", abs(Fraction(word))) for word in words]
        typed.append([name, words, [str(float_codes.encode(value, fmt)) for value in exact]])
    return {"encode": codes, "typed": typed}


def posit_vectors(draw, count=3000):
    decoded, codes = [], []
    for name in POSITS:
        fmt = formats.format(name)
        if fmt.bits <= 8:
            decoded.append([name, texts(posits.decode(code, fmt) for code in range(2**fmt.bits))])
        values = list(SPECIALS)
        for _ in range(min(count, 6 * 2**fmt.bits) // (4 if fmt.bits > 16 else 1)):
            code = draw.randrange(1, 2 ** (fmt.bits - 1) - 1)
            tie = posits.magnitude(2 * code + 1, fmt.bits + 1, fmt.exponent_bits)
            part = draw.choice(
                [Fraction(1), 1 + Fraction(1, 2**50), 1 - Fraction(1, 2**50), Fraction(draw.random() * 2)]
            )
            values.append(Value("finite", draw.random() < 0.5, tie * part))
        values += [Value("finite", False, Fraction(2) ** e) for e in (-2000, 2000)]
        codes.append(
            [name, texts(values), [["", "", "", [0], 0, " ".join(str(posits.encode(v, fmt)) for v in values)]]]
        )
    return {"decode": decoded, "encode": codes}


def integer_vectors(draw):
    rows = []
    scales, some = (1.0, floats.to_float32(Fraction(1, 10)), 2.0**-149, 3.0), (*MODES, "stochastic_a", "stochastic_c")
    for name, scale, mode in product(INTEGERS, scales, some):
        fmt = formats.format(name)
        zero = draw.randint(fmt.min, fmt.max)
        values = [draw.randrange(-3 * 2**fmt.bits, 3 * 2**fmt.bits) / 2 * scale for _ in range(20)]
        values += [draw.uniform(-2, 2) * 2**fmt.bits * scale for _ in range(5)]
        decoded = [[c, text(integers.decode(c, scale, zero))] for c in draw.sample(range(fmt.min, fmt.max + 1), 2)]
        draws = draw.randrange(8)
        got = [integers.encode(x, fmt, scale, zero, mode, random=draws, random_bits=3) for x in values]
        rows.append([name, text(scale), zero, texts(values), mode, draws, got, decoded])
    return {"integers": rows}


def book_vectors(draw):
    rows = []
    for name, scale in product(CATALOGUE["books"], (1.0, floats.to_float32(Fraction(7, 10)))):
        book = formats.format(name)
        values = [scale * b for b in book.boundaries[:: len(book.book) // 16]] + [draw.uniform(-1, 1) for _ in range(8)]
        values = [floats.to_float32(Fraction(x)) for x in values]
        decoded = texts(codebooks.decode(code, scale, book) for code in range(len(book.book)))
        rows.append([name, text(scale), texts(values), [codebooks.encode(x, scale, book) for x in values], decoded])
    return {"books": rows}


def block_vectors(draw, names=(*CATALOGUE["blocks"], *BLOCKS)):
    """Return blocks by every scale rule: of like and of far magnitudes, of zeros, with NaN and infinities."""
    rows, tensors = [], []
    for name in names:
        fmt = formats.format(name)
        for i, (rule, mode) in enumerate(product(modes.SCALE_RULES, MODES * 8)):
            size, spread = draw.randrange(1, 9), draw.choice([1, 4, 150])
            values = [Fraction(draw.choice([0, 1, 1.5, 1.75, 6, draw.random()])) for _ in range(size)]
            values = [
                Value("finite", draw.random() < 0.5, x * Fraction(2) ** draw.randint(-spread, spread)) for x in values
            ]
            if i % 16 == 2:
                values = [value._replace(magnitude=Fraction(0)) for value in values]
            if i % 16 == 3:
                values.append(SPECIALS[i // 16 % 4])
            largest, tensor = max(v.magnitude for v in values), 1.0
            if fmt.tensor_scale:
                tensor = blocks.tensor_scale(largest * draw.choice([1, 1, 8, 5000]), fmt)
                tensors.append([name, text(largest), text(blocks.tensor_scale(largest, fmt))])
            scale, codes = blocks.encode_block(values, fmt, rule, tensor, mode)
            decoded = texts(blocks.decode_block(scale, codes, fmt, tensor))
            rows.append([name, rule, mode, text(tensor), texts(values), str(scale), ",".join(map(str, codes)), decoded])
    return {"blocks": rows, "tensors": tensors}


def name_vectors():
    """Return names with what they are called, and names that are refused, of all kinds."""
    given = [*formats.names(), *CATALOGUE["aliases"], *SMALL, *LARGE, *POSITS, *INTEGERS, *BLOCKS]
    for element, scale in product(
        ["e2m1", "INT8", "int8_full", "uint8", "float16", "tf32", "e2m3_unsigned", "posit8_2", "nf4", "mxfp4", "x"],
        ["e8m0fnu", "F8E4M3FN", "e4m3", "float16", "float32", "fp8", "int8", "binary8p3se", "e8m0fnu and float32"]
        + [f"{name} and float32" for name in ("e4m3fn", "e5m2", "float16", "e4m3", "e5m2fnuz", "nf4", "e3m2ieee")],
    ):
        given.append(f"blocks of 16 {element} scaled by {scale}")
    given += [f"blocks of {size} e2m1 scaled by E8M0FNU" for size in ("32", "031", "0", "-1", "1.5", "999999999", "")]
    given += "e99m1 e0m0 e17m2 e4m53 e8m56 e11m52fn_unsigned e4m3fnuz_unsigned e1m0ieee e0m3_flush e1m0fn".split()
    given += "binary8p3sx binary8p8se binary8p8ue binary2p1se binary99p3se int1 int0 int17 posit2_0 posit8_6".split()
    given += "F8E4M3FN fp8_e5m2 fp8_e4m3 E4M3 FP8 BF16 f6e2m3 Binary8p3se fp8 f8e4m3b11fnuz F4E2M1 e8m0 E8M0".split()
    given += ["e4m3b131072", "e4m3b131073", "", "E4M3", " e4m3", "e0m1p3109e", "e1m0p3109f", "e2m0b1", "e0m2fnuz_flush"]
    rows = []
    for name in given:
        try:
            rows.append([name, str(formats.format(name))])
        except ValueError:
            rows.append([name, "refused"])
    return rows


def written_vectors(draw):
    """Return values written in full, in decimal and in hexadecimal."""
    rows = []
    for name in ("float16", "bfloat16", "float32", "float64", "float8_e5m2"):
        fmt = formats.format(name)
        for _ in range(100):
            code = draw.randrange(2**fmt.mantissa_bits, fmt.max_code + 1) | draw.choice([0, fmt.sign_mask])
            value = float_codes.to_float(float_codes.decode(code, fmt))
            decimals = f"{value:.1100f}".rstrip("0").rstrip(".")
            rows.append([name, str(code), decimals, re.sub(r"\.?0*p\+?", "p", value.hex())])
    return rows


def ways_vectors():
    rows = []
    for variant, bits, n in product("abc", (1, 3, 4), range(48)):
        nu = Fraction(n, 48)
        up = [float_codes.round_away(True, nu, False, f"stochastic_{variant}", r, bits) for r in range(2**bits)]
        rows.append([variant, text(nu), bits, sum(up)])
    return rows


@in_a_browser
def test_every_code_of_small_formats_and_every_rounding_of_what_lies_around_them_is_the_definition_s(tmp_path):
    vectors = small_vectors(SMALL)
    vectors["decode"] += more_codes()
    found = verdict(tmp_path, vectors)
    assert found["wrong"] == []
    assert found["tally"]["decode"] > 20_000 and found["tally"]["encode"] > 400_000


@in_a_browser
def test_large_formats_posits_integers_code_books_and_blocks_are_the_definition_s(tmp_path):
    draw = random.Random(15)
    vectors = large_vectors(draw) | integer_vectors(draw) | book_vectors(draw) | block_vectors(draw)
    vectors |= {"near": near_vectors(draw), "ways": ways_vectors(), "names": name_vectors()}
    vectors |= {"written": written_vectors(draw), "decode": posit_vectors(draw)["decode"]}
    vectors["encode"] += posit_vectors(draw)["encode"]
    found = verdict(tmp_path, vectors)
    assert found["wrong"] == []
    assert sum(found["tally"].values()) > 100_000


@pytest.fixture(scope="module")
def few():
    """A few vectors of each kind."""
    draw = random.Random(16)
    vectors = small_vectors(["float4_e2m1fn", "float8_e5m2"]) | block_vectors(draw, BLOCKS[:1] + BLOCKS[10:11])
    vectors["encode"] += posit_vectors(draw, 200)["encode"]
    return vectors


@in_a_browser
@pytest.mark.parametrize(
    "old, new",
    [
        ("half > 0 || (half === 0 && !even)", "half >= 0"),
        ('case "to_odd": return nu.n > 0n && even;', 'case "to_odd": return nu.n > 0n;'),
        ('overflow === "saturate" || (overflow === "propagate" && !exact)', 'overflow === "saturate"'),
        ("(side === 0 && low % 2n)", "(side === 0)"),
        ('if (rule === "ceil" && compare(pow2(e), quotient) < 0) e += 1;', ""),
    ],
)
def test_a_page_that_rounds_otherwise_is_noticed(tmp_path, few, old, new):
    assert TEXT.count(old) == 1
    assert verdict(tmp_path, few, TEXT.replace(old, new))["wrong"]


@in_a_browser
def test_the_page_shows_what_its_address_says_answers_keys_and_refuses_in_words(tmp_path):
    found = verdict(tmp_path, {"page": True}, address="#format=float8_e5m2&value=0.27")
    assert found["wrong"] == [] and found["tally"]["page"] > 200


def test_the_page_knows_every_name_of_the_catalogue_by_the_same_fields():
    names = [name for kind, some in CATALOGUE.items() if kind not in ("aliases", "several") for name in some]
    assert sorted(names) == sorted(formats.names())
    reading = importlib.import_module("refimpl.formats.names")
    assert CATALOGUE["aliases"] == reading._ALIASES and CATALOGUE["several"] == reading._SEVERAL
    for name, fields in CATALOGUE["floats"].items():
        assert formats.format(fields) == formats.format(name)
    for name, fields in CATALOGUE["blocks"].items():
        element, scale = (formats.format(fields[key]) for key in ("element", "scale"))
        made = formats.BlockFormat(
            element=element, scale=scale, block_size=fields["size"], tensor_scale=fields["tensor"]
        )
        assert made == formats.format(name)


def test_the_page_names_every_rule_and_family():
    for name, words in (("MODES", MODES), ("OVERFLOWS", modes.OVERFLOWS), ("SCALE_RULES", modes.SCALE_RULES)):
        assert tuple(json.loads(re.search(rf"{name} = (\[.*?\])", TEXT)[1])) == words
    families = re.search(r"SUFFIXES = \{(.*?)\}", TEXT, re.S)[1]
    assert dict(re.findall(r'(\w+): "(\w*)"', families)) == floats.SUFFIXES


def test_the_page_asks_for_nothing_outside_itself():
    assert not re.findall(r"https?:|src=|@import|url\(|fetch\(|XMLHttp|WebSocket|import\(|<link", TEXT)
