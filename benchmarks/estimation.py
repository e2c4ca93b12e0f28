"""How long estimation takes on the paper's matrices: one design, one completion, the whole table.

python benchmarks/estimation.py [--jobs N] [--only PART ...]

The table is that of the paper's meta-test: 7 methods, 11 numbers of measurements, 87 data sets left
out in turn. Where the released matrices are not on this machine, a matrix of the same shape is made up.
"""

import argparse
import resource
import time

import numpy as np
from sensitivity import made_up

from refimpl.peppp import ErrorMatrix, leave_one_out
from refimpl.peppp.configs import CONFIGURATIONS
from refimpl.peppp.estimators.completion import soft_impute
from refimpl.peppp.estimators.design import d_optimal
from refimpl.peppp.estimators.embedding import svd_embedding
from refimpl.peppp.matrix.released import load_released
from refimpl.peppp.matrix.sampling import uniform_sample

METHODS = ("ed-mf", "random-mf", "bo-mf", "bo-full", "random-high-memory", "variance-reduction", "knowledge-gradient")
COUNTS = tuple(range(5, 16))


def matrix() -> ErrorMatrix:
    """Return the released matrix, or one of its shape."""
    try:
        return load_released()
    except ValueError as error:
        print(f"{error}\na made-up matrix instead")
    values, memory = made_up(87, 99, 0.03, seed=0)
    return ErrorMatrix(
        values,
        [f"made up {i}" for i in range(87)],
        [c.name for c in CONFIGURATIONS],
        memory_mb=np.broadcast_to(memory, values.shape),
    )


def median(call, times: int) -> float:
    """Return the median seconds of a call."""
    found = []
    for _ in range(times):
        start = time.perf_counter()
        call()
        found.append(time.perf_counter() - start)
    return float(np.median(found))


def design(errors, jobs) -> None:
    """Time one D-optimal design of 15 configurations."""
    embedding = svd_embedding(errors.values, 5)
    print(f"a design of 15 of 99: {1000 * median(lambda: d_optimal(embedding, 15), 101):.2f} ms")


def completion(errors, jobs) -> None:
    """Time the completion of a fifth of the matrix."""
    mask, _ = uniform_sample(errors.values.shape, 0.2, seed=0)
    part = np.where(mask, errors.values, np.nan)
    assert soft_impute(part).converged
    print(f"SoftImpute at 20 %: {median(lambda: soft_impute(part), 5):.2f} s")


def table(errors, jobs) -> None:
    """Time leaving every data set out, by every method."""
    begin, spent = time.perf_counter(), processor_seconds()
    for method in METHODS:
        start = time.perf_counter()
        leave_one_out(errors, method=method, n_measurements=COUNTS, jobs=jobs, progress=True)
        print(f"  {method:<20} {time.perf_counter() - start:6.1f} s", flush=True)
    print(
        f"the table of {len(METHODS)} methods, {len(COUNTS)} numbers of measurements and "
        f"{len(errors.rows)} data sets: {time.perf_counter() - begin:.0f} s in {jobs} processes, "
        f"{processor_seconds() - spent:.0f} s of processor time"
    )


def processor_seconds() -> float:
    """Return what this process and its ended workers have used."""
    used = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(u.ru_utime + u.ru_stime for u in used)


PARTS = {"design": design, "completion": completion, "table": table}

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jobs", type=int, default=2, help="processes (default 2)")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    options = parser.parse_args()
    errors = matrix()
    for part in options.only:
        PARTS[part](errors, options.jobs)
