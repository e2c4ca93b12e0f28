"""When a sum of products is exact in float64, whatever its order.

*Notation*: a format with smallest subnormal s and largest value M holds multiples of s up to M.
Products of values of two formats are multiples of s1 s2 up to M1 M2; n of them add up exactly in
float64, in any order, if n M1 M2 <= 2^53 s1 s2: then every partial sum is a multiple of s1 s2 that
53 bits can hold.

Training with ``exact_sums=True`` sums all products of convolutions, linear layers and attention in
float64 and rounds each to float32 once.  Where the condition holds the results do not depend on any machine's or
library's order; where it does not, they do only if an error of about 2^-53 decides a rounding to
float32, a probability of about n 2^-29.
"""

from __future__ import annotations

from fractions import Fraction

from refimpl._arguments import instance
from refimpl.formats import FloatFormat
from refimpl.formats import format as format_of


def most_exact_terms(first: FloatFormat | str, second: FloatFormat | str) -> int:
    """Return how many products of values of two formats float64 always sums exactly.

    That is of values as they are: a tensor with a scale that is not a power of two, such as one rounded
    to int8, holds others.  TypeError for other than floating-point formats.

    Examples
    --------
    >>> most_exact_terms("e4m3", "e4m3")  # largest 480, smallest 2^-9: 480^2 2^18 n <= 2^53
    149130
    >>> most_exact_terms("e5m2", "e5m2")  # not even one: but see `refimpl.autodiff.networks.matmul`
    0
    """
    largest = smallest = Fraction(1)
    for given in (first, second):
        allowed = "a floating-point format, such as e4m3"
        fmt = instance("most_exact_terms", "format", format_of(given), FloatFormat, allowed)
        largest *= Fraction(fmt.max)
        smallest *= Fraction(fmt.smallest_subnormal)
    return int(2**53 * smallest / largest)
