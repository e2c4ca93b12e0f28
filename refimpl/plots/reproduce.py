"""Pictures of what the released PEPPP matrices say."""

from __future__ import annotations

import numpy as np

from refimpl.plots.canvas import axes


def released(errors):
    """Draw error against memory on CIFAR-10, bits of frontiers, singular values and correlations.

    Parameters
    ----------
    errors : refimpl.peppp.ErrorMatrix
        From `refimpl.peppp.matrix.released.load_released`.

    Returns
    -------
    matplotlib Figure
    """
    from refimpl.peppp import CONFIGURATIONS
    from refimpl.peppp.frontier import non_dominated

    figure = axes(size=(12.0, 9.0)).figure
    figure.clear()
    (cifar, widths), (singular, correlations) = figure.subplots(2, 2)
    memory, error = errors.memory_mb[0], errors.values[0]
    front = non_dominated(memory, error)
    cifar.plot(memory[~front], error[~front], "o", color="0.7", ms=4, label="dominated")
    order = np.flatnonzero(front)[np.argsort(memory[front])]
    cifar.plot(memory[order], error[order], "s-", drawstyle="steps-post", label="non-dominated")
    cifar.set(title="CIFAR-10", xlabel="training memory (MB of $2^{20}$ bytes)", ylabel="test error")
    cifar.legend(fontsize=8)
    bits = np.array([c.low_bits for c in CONFIGURATIONS])
    fronts = [non_dominated(m, e) for m, e in zip(errors.memory_mb, errors.values, strict=True)]
    counts = [int(np.sum([f[bits == b].sum() for f in fronts])) for b in range(5, 10)]
    bars = widths.bar(range(5, 10), counts, color="0.6", edgecolor="k")
    widths.bar_label(bars, [f"{c} ({c / sum(counts):.0%})" for c in counts], fontsize=8)
    widths.set(title="non-dominated configurations of 87 data sets", xlabel="bits of the low format", ylabel="number")
    sigma = np.linalg.svd(errors.values, compute_uv=False)
    singular.semilogy(np.arange(1, 31), sigma[:30], "o-", ms=4)
    singular.set(title="singular values of the error matrix", xlabel="index", ylabel="value")
    between = np.corrcoef(errors.values)
    image = correlations.imshow(between, vmin=-1, vmax=1, cmap="RdBu_r")
    figure.colorbar(image, ax=correlations, label="correlation")
    correlations.set(title="correlation of data sets", xlabel="data set", ylabel="data set")
    return figure
