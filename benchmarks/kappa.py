"""How far is an approximate implementation of a P3109 operation off?  Its kappa, as the standard defines it.

    python benchmarks/kappa.py MODULE:FUNCTION "Exp<binary32, Binary8p4se, (NearestTiesToEven, SatNone)>"
                               [--samples 20000] [--json FILE]

FUNCTION takes arrays of codes, one for each operand, and gives codes of the result.  Operands of at most 24 bits
together are tried all; of wider ones `--samples`, spread evenly over their codes, so that kappa is a lower bound.
Prints kappa over all, which is what is to be declared, and that of each defined result that is missed, from which
the subsets of a declaration can be taken.

`kappa:exp_flushing` is the report's own example: subnormal results go to the nearest of 0 and the smallest normal
value; its kappa is 4 below the middle, and 3 above it.
"""

import argparse
import importlib
import json
import sys
from pathlib import Path

import numpy as np

import refimpl as rf

EXAMPLE = "Exp<binary32, Binary8p4se, (NearestTiesToEven, SatNone)>"


def exp_flushing(x):
    """Exp of binary32 into Binary8p4se that flushes subnormal results; the tie, code 4, goes to 0."""
    found = rf.p3109.operation(EXAMPLE)(x)
    return np.where(found <= 4, 0, np.where(found < 8, 8, found)).astype(np.uint8)


def operands(of, samples):
    """Return codes of all operands, or of some, and whether these are all."""
    formats = of.formats[:-1]
    if sum(fmt.bits for fmt in formats) <= 24:
        return [x.reshape(-1) for x in np.meshgrid(*(np.arange(1 << f.bits) for f in formats), indexing="ij")], True
    rng = np.random.default_rng(0)
    columns = [np.linspace(0, 2**f.bits - 1, samples).astype(np.uint64) for f in formats]
    return [columns[0], *map(rng.permutation, columns[1:])], False


def main():
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("function", metavar="MODULE:FUNCTION")
    parser.add_argument("operation", metavar="OPERATION")
    parser.add_argument("--samples", type=int, default=20_000)
    parser.add_argument("--json", metavar="FILE")
    options = parser.parse_args()
    module, _, name = options.function.partition(":")
    sys.path.insert(0, "")
    try:
        approximate = getattr(importlib.import_module(module), name)
        of = rf.p3109.operation(options.operation)
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        sys.exit(f"kappa: {error}")
    codes, everything = operands(of, options.samples)
    defined, computed = of(*codes), np.asarray(approximate(*codes))
    overall = rf.p3109.kappa(approximate, of, codes)
    missed = {}
    for code in np.unique(defined[defined != computed]):
        at = defined == code
        missed[hex(code)] = rf.p3109.kappa(approximate, of, [x[at] for x in codes])
    print(f"{of}\n{'all' if everything else len(codes[0])} operands: kappa {overall}")
    for code, off in missed.items():
        print(f"  where the result is {code:>6}: kappa {off}")
    if options.json:
        found = {"operation": str(of), "kappa": overall, "all": everything, "by result": missed}
        Path(options.json).write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
