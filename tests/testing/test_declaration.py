"""What is declared to IEEE P3109 is what is there, and all that the standard makes mandatory."""

import re

from refimpl.__main__ import main
from refimpl.formats import p3109_names
from refimpl.ops import p3109

# of interim report 4.0: the operations an implementation has to have, apart from blocks
MANDATORY = """
Convert Recip Negate Abs Add Subtract Multiply FMA FAA Minimum Maximum MinimumNumber MaximumNumber
MinimumMagnitude MaximumMagnitude MinimumMagnitudeNumber MaximumMagnitudeNumber MinimumFinite MaximumFinite
CompareLess CompareLessEqual CompareEqual CompareGreater CompareGreaterEqual IsZero IsOne IsNaN IsInfinite IsFinite
IsSignMinus IsNormal IsSubnormal NextGreaterThan NextLessThan BitwidthOf PrecisionOf SignednessOf DomainOf
ExponentBitwidthOf TrailingSignificandBitwidthOf ExponentBiasOf MaxFiniteOf MinFiniteOf MinPositiveOf MaxSubnormalOf
MinNormalOf ScaledAdd ScaledSubtract ScaledMultiply
""".split()


def written(tmp_path, *options):
    assert main(["declare", str(tmp_path / "here"), *options]) == 0
    return {path.stem: path.read_text(encoding="utf-8") for path in (tmp_path / "here").iterdir()}


def test_four_files_say_who_answers_for_them(tmp_path, capsys):
    files = written(tmp_path, "--provider", 'A "quoted" name', "--email", "a@b.c")
    assert sorted(files) == ["Configurations", "Constraints", "Kappas", "Profiles"]
    for text in files.values():
        assert text.startswith('---\nMetadata:\n  conformance: "IEEE SA P3109"\n  version: "4.0"\n')
        assert '  provider: "A \\"quoted\\" name"\n  contact:\n    email: "a@b.c"\n' in text
    assert files["Constraints"].endswith("\nEmpty: true\n") and files["Kappas"].endswith("\nEmpty: true\n")


def test_every_format_and_every_mandatory_operation_is_declared(tmp_path, capsys):
    files = written(tmp_path)
    ranges = re.findall(r"'Binary(\d+)p\$\(i\)(\w\w)' for i in 1:(\d+)", files["Profiles"])
    formats = {f"binary{k}p{p}{kind}" for k, kind, last in ranges for p in range(1, int(last) + 1)}
    assert formats == {name for k in range(3, 17) for name in p3109_names(k)}
    operations = re.findall(r'- "(\w+)<', files["Configurations"])
    assert set(MANDATORY) <= set(operations) and len(operations) == len(set(operations))


def test_what_is_declared_can_be_called_with_parameters_of_those_names(tmp_path, capsys):
    meant = {"ρ": ("NearestTiesToEven", "SatNone"), "ρs": ("NearestTiesToEven", "SatNone"), "B": 2}
    signatures = re.findall(r'- "(\w+)<(.*)>\((.*)\) -> ', written(tmp_path)["Configurations"])
    assert len(signatures) > 150
    for name, parameters, operands in signatures:
        given = [
            meant.get(p) or ((("Binary4p2sf",) * 2) if p.startswith("(") else "Binary4p2sf")
            for p in re.findall(r"\([^)]*\)|[^ ,()]+", parameters)
        ]
        made = getattr(p3109, name)(*given)
        if not operands or p3109.NAMES.index(name) > p3109.NAMES.index("SatOf"):
            continue
        made(*[4] * len(operands.split(",")))
