"""Pictures of what a network in another precision is proved to answer."""

from __future__ import annotations

import numpy as np

from refimpl.plots.canvas import axes


def certificate(found, *, title: str = "", ax=None):
    """Draw each image's error against its tolerance; below the line Gamma = 2 delta the class is certain.

    Parameters
    ----------
    found : refimpl.numerics.Certificate
    title : str
    ax : matplotlib Axes, optional

    Returns
    -------
    matplotlib Figure

    Examples
    --------
    >>> from refimpl.numerics import Certificate
    >>> one = np.ones(1)
    >>> figure = certificate(Certificate(one, one / 9, one / 4, one > 0, "logits"))
    >>> figure.axes[0].get_xlabel()
    'tolerance $\\\\Gamma$ (of logits)'
    """
    ax = axes(ax, size=(7.0, 5.0))
    positive = np.concatenate([a[(a > 0) & np.isfinite(a)] for a in (found.delta, found.bound)])
    floor = 10.0 ** np.floor(np.log10(positive.min(initial=1.0)))
    top = 3 * max(positive.max(initial=floor), 1.0)
    finite = np.isfinite(found.bound)
    drawn = found.gamma > 0
    gamma = np.maximum(found.gamma, found.gamma[drawn].min(initial=1.0) / 3)
    ax.plot(
        gamma[finite],
        np.maximum(found.bound, floor)[finite],
        "^",
        ms=4,
        mfc="none",
        color="#e08214",
        label=f"bound: {found.proved.mean():.1%} proved",
    )
    if not finite.all():
        ax.plot(
            gamma[~finite],
            np.full((~finite).sum(), top / 1.5),
            "x",
            ms=5,
            color="#e08214",
            label=f"no finite bound: {(~finite).sum()} images",
        )
    ax.plot(
        gamma,
        np.clip(found.delta, floor, top / 1.5),
        "o",
        ms=3.5,
        color="#2166ac",
        label=f"measured error: {found.observed.mean():.1%} below the line",
    )
    if not found.same.all():
        ax.plot(
            gamma[~found.same],
            np.clip(found.delta, floor, top / 1.5)[~found.same],
            "s",
            ms=9,
            mfc="none",
            color="#b2182b",
            label=f"another class: {(~found.same).sum()} images",
        )
    ends = np.array([gamma.min() / 2, gamma.max() * 1.5])
    ax.plot(ends, ends / 2, "k-", lw=1.2, label=r"$\Gamma = 2\,\delta$")
    ax.fill_between(ends, floor / 2, ends / 2, color="0.93", zorder=0)
    ax.set(
        xscale="log",
        yscale="log",
        xlim=ends,
        ylim=(floor / 2, top),
        title=title,
        xlabel=rf"tolerance $\Gamma$ (of {found.outputs})",
        ylabel=rf"floating-point error $\delta$ (of {found.outputs})",
    )
    ax.legend(fontsize=8, loc="lower left")
    return ax.figure
