"""Pictures of measured errors: over tails, of operands, of candidates, what they predict, what is proved."""

from __future__ import annotations

import numpy as np

from refimpl.formats import format as format_of
from refimpl.numerics.metrics import error_profile
from refimpl.numerics.tails import fit_student_t
from refimpl.plots.canvas import axes, ink, panels, write_title

_STYLES = (
    ("#2166ac", "-", "o"),
    ("#b2182b", "--", "s"),
    ("#1b7837", ":", "^"),
    ("#e08214", "-.", "D"),
    ("#8a5fc0", "-", "v"),
    ("#808080", "--", "<"),
    ("#a6761d", ":", ">"),
)
_ROLES = ("left operand", "right operand", "product gradient")


def tails(rows, *, ax=None):
    """Draw the median backward error of a product over the degrees of freedom of its operands.

    Parameters
    ----------
    rows : list of refimpl.numerics.tails.TailRow
        As `refimpl.numerics.tail_table` returns them.
    ax : matplotlib Axes, optional

    Returns
    -------
    matplotlib Figure

    Examples
    --------
    >>> from refimpl import data, nn, numerics
    >>> figure = tails(numerics.tail_table(size=16, trials=1))
    """
    ax = axes(ax, size=(7.0, 4.6))
    nus = sorted({row.nu for row in rows})
    names = dict.fromkeys((row.format, row.scaling) for row in rows)
    for (fmt, scaling), (color, style, mark) in zip(names, _STYLES * len(names), strict=False):
        errors = {r.nu: r.backward_error for r in rows if (r.format, r.scaling) == (fmt, scaling)}
        label = fmt if scaling == "tensor" else f"{fmt}, a scale per {scaling}"
        ax.plot(
            [nus.index(nu) for nu in errors], errors.values(), color=color, ls=style, marker=mark, ms=5, label=label
        )
    ax.set_xticks(range(len(nus)), ["Gaussian" if nu == np.inf else f"{nu:g}" for nu in nus])
    ax.set_yscale("log")
    ax.set_xlabel("degrees of freedom of Student's t (heavier tails to the left)")
    ax.set_ylabel("median |error| / (|a| |b|) of the product")
    ax.grid(alpha=0.3)
    ax.legend(fontsize=8)
    return ax.figure


def errors_with_t(errors: dict[str, np.ndarray], *, ax=None):
    """Draw distributions of errors, each with the Student t fitted to it.

    Parameters
    ----------
    errors : dict of name to array_like of float
        Such as `refimpl.numerics.product_errors` returns.
    ax : sequence of matplotlib Axes, one for each, optional

    Returns
    -------
    matplotlib Figure

    Examples
    --------
    >>> figure = errors_with_t({"int8": np.random.default_rng(0).standard_t(5, 1000)})
    """
    row = panels(1, len(errors), ax, size=(3.4 * len(errors), 3.2))
    for panel, (name, values) in zip(row, errors.items(), strict=True):
        _density(panel, np.ravel(values))
        panel.set_title(name, fontsize=10)
    row[0].set_ylabel("density")
    row[0].figure.supxlabel("error of a product, in units of |a| |b|", fontsize=10)
    return row[0].figure


def operands(capture, layer: str, *, ax=None):
    """Draw the distributions of the three operands of a layer's product, each with a fitted Student t.

    *Source*: Figure 2 of the metric-driven paper, arXiv 2408.02897, is of this kind.

    Parameters
    ----------
    capture : refimpl.numerics.Capture
    layer : str
        The end of one layer's name, such as ``"query"``.
    ax : sequence of three matplotlib Axes, optional

    Returns
    -------
    matplotlib Figure

    Examples
    --------
    >>> from refimpl import data, nn
    >>> from refimpl.numerics.capture import capture
    >>> figure = operands(capture(nn.mlp(), data.load("digits"), steps=1), "2 Linear")
    """
    row = panels(1, 3, ax, size=(10.2, 3.2))
    for panel, role in zip(row, _ROLES, strict=True):
        values = capture.of(layer, role).sample
        _density(panel, values[values != 0])
        panel.set_title(role, fontsize=10)
    row[0].set_ylabel("density")
    row[0].figure.supxlabel(f"value ({layer})", fontsize=10)
    return row[0].figure


def assignment(assignment, *, ax=None):
    """Draw the metric of every operand for every candidate, the chosen ones ringed.

    Parameters
    ----------
    assignment : refimpl.numerics.Assignment
    ax : matplotlib Axes, optional

    Returns
    -------
    matplotlib Figure

    Examples
    --------
    >>> from refimpl import data, nn, numerics
    >>> evidence = numerics.measure(nn.mlp(), data.load("digits"), numerics.candidates(), steps=1)
    >>> figure = assignment(numerics.choose(evidence, tolerance=0.01))
    """
    evidence, choices = assignment.evidence, assignment.choices
    ax = axes(ax, size=(8.5, 1.4 + 0.2 * len(choices)))
    keys = [(choice.layer, choice.role) for choice in choices]
    values = np.array([evidence.value(key, assignment.metric) for key in keys])
    if assignment.metric != "noise":
        floor = values[values > 0].min(initial=1.0) / 2  # where a zero is drawn
        values = np.maximum(values, floor)
        ax.set_xscale("log")
    rows = np.arange(len(keys))
    for i, (candidate, (color, _, mark)) in enumerate(
        zip(evidence.candidates, _STYLES * len(evidence.candidates), strict=False)
    ):
        ax.plot(values[:, i], rows, mark, color=color, ms=4, ls="", label=candidate.name)
    picked = [evidence.candidates.index(choice.candidate) for choice in choices]
    ax.plot(values[rows, picked], rows, "o", mfc="none", mec=ink(), ms=10, mew=1, ls="", label="chosen")
    if np.isfinite(assignment.tolerance):
        ax.axvline(assignment.tolerance, color=ink(0.6), ls="--", lw=1, label="tolerance")
    ax.set_yticks(rows, [f"{layer}: {role}" for layer, role in keys], fontsize=7)
    ax.invert_yaxis()
    ax.set_xlabel(assignment.metric)
    ax.grid(alpha=0.3)
    ax.legend(fontsize=7, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return ax.figure


def predicted(trained, *, baseline=None, label: str = "metric", ax=None):
    """Draw the loss that policies came to over the metric measured before.

    Parameters
    ----------
    trained : sequence of refimpl.numerics.prediction.Trained
    baseline : refimpl.numerics.prediction.Trained, optional
        float32's, drawn as a level.
    label : str
        Of the horizontal axis.
    ax : matplotlib Axes, optional

    Returns
    -------
    matplotlib Figure

    Examples
    --------
    >>> from refimpl import data, nn, numerics
    >>> evidence = numerics.measure(nn.mlp(), data.load("digits"), numerics.candidates(), steps=1)
    >>> trained = numerics.train_policies(nn.mlp, data.load("digits"), numerics.policies(evidence, 4), epochs=1)
    >>> figure = predicted(trained)
    """
    ax = axes(ax, size=(7.6, 4.4))
    mixed = np.array([t.name.startswith("mixture") for t in trained])
    x, y = (np.array([getattr(t, name) for t in trained]) for name in ("metric", "loss"))
    ax.plot(x[mixed], y[mixed], "x", ms=5, color=ink(0.6), label="a mixture")
    for i, t in enumerate(t for t in trained if not t.name.startswith("mixture")):
        color, _, mark = _STYLES[i % len(_STYLES)]
        fill = ("full", "none", "left", "top")[i // len(_STYLES) % 4]
        ax.plot(t.metric, t.loss, mark, color=color, fillstyle=fill, ls="", label=t.name)
    if baseline is not None:
        ax.axhline(baseline.loss, color=ink(0.6), lw=1, ls="--", label="float32")
    for values, scale in ((x, ax.set_xscale), (y, ax.set_yscale)):
        if 0 < 10 * values.min() < values.max():
            scale("log")
    ax.set_xlabel(label)
    ax.set_ylabel("training loss of the last epoch")
    ax.grid(alpha=0.3)
    ax.legend(fontsize=7, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return ax.figure


def certificate(result, *, title: str = "", ax=None):
    """Draw each image's error against its tolerance; below the line Gamma = 2 delta the class is certain.

    Parameters
    ----------
    result : refimpl.numerics.Certificate
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
    positive = np.concatenate([a[(a > 0) & np.isfinite(a)] for a in (result.delta, result.bound)])
    floor = 10.0 ** np.floor(np.log10(positive.min(initial=1.0)))
    top = 3 * max(positive.max(initial=floor), 1.0)
    finite = np.isfinite(result.bound)
    drawn = result.gamma > 0
    gamma = np.maximum(result.gamma, result.gamma[drawn].min(initial=1.0) / 3)
    ax.plot(
        gamma[finite],
        np.maximum(result.bound, floor)[finite],
        "^",
        ms=4,
        mfc="none",
        color="#e08214",
        label=f"bound: {result.proved.mean():.1%} proved",
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
        np.clip(result.delta, floor, top / 1.5),
        "o",
        ms=3.5,
        color="#2166ac",
        label=f"measured error: {result.observed.mean():.1%} below the line",
    )
    if not result.same.all():
        ax.plot(
            gamma[~result.same],
            np.clip(result.delta, floor, top / 1.5)[~result.same],
            "s",
            ms=9,
            mfc="none",
            color="#b2182b",
            label=f"another class: {(~result.same).sum()} images",
        )
    ends = np.array([gamma.min() / 2, gamma.max() * 1.5])
    ax.plot(ends, ends / 2, color=ink(), lw=1.2, label=r"$\Gamma = 2\,\delta$")
    ax.fill_between(ends, floor / 2, ends / 2, color=ink(0.07), zorder=0)
    ax.set(
        xscale="log",
        yscale="log",
        xlim=ends,
        ylim=(floor / 2, top),
        xlabel=rf"tolerance $\Gamma$ (of {result.outputs})",
        ylabel=rf"floating-point error $\delta$ (of {result.outputs})",
    )
    write_title(ax, title)
    ax.legend(fontsize=8, loc="lower left")
    return ax.figure


def relative_error(formats=("int8", "float8_e4m3fn", "float8_e5m2"), *, octaves: int = 24, ax=None):
    """Draw the worst relative error of rounding against the magnitude, the tensor's largest being 1.

    Each format is scaled so that 1 becomes its largest value.  Integers err by a constant, so
    their relative error grows as values shrink; floats keep it, down to their subnormals.
    *Source*: Figure 3 of the metric-driven paper, arXiv 2408.02897.

    Parameters
    ----------
    formats : sequence of FloatFormat, IntFormat or names
    octaves : int
        Powers of two below 1 that are shown.
    ax : matplotlib Axes, optional

    Returns
    -------
    matplotlib Figure

    Examples
    --------
    >>> relative_error(["int8", "bfloat16"], octaves=4).axes[0].get_xscale()
    'log'
    """
    ax = axes(ax)
    for fmt, (color, style, _) in zip(map(format_of, formats), _STYLES * 9, strict=False):
        ends, worst = error_profile(fmt, octaves=octaves)
        ax.plot(ends * 2**-0.5, worst, color=color, ls=style, lw=1.8, label=fmt.name)
    ax.set_xscale("log", base=2)
    ax.set_yscale("log", base=2)
    ax.set_xlabel("magnitude, as a part of the tensor's largest")
    ax.set_ylabel("worst relative error of rounding to nearest")
    ax.legend()
    ax.grid(alpha=0.3)
    return ax.figure


def _density(ax, values) -> None:
    """Draw a histogram of the middle 99.8 percent as a density, and the fitted t on it."""
    fitted = fit_student_t(values)
    low, high = np.quantile(values, [0.001, 0.999])
    edges = np.linspace(low, high, 61)
    counts, _ = np.histogram(values, edges)
    ax.stairs(counts / len(values) / np.diff(edges), edges, fill=True, color=ink(0.25))
    x = np.linspace(low, high, 301)
    nu = f"{fitted.nu:.1f}" if fitted.nu < 100 else "> 100"
    ax.plot(x, fitted.density(x), color="#b2182b", lw=1.4, label=f"Student t, nu {nu}")
    ax.set_yscale("log")
    ax.set_ylim(bottom=0.3 / len(values) / (edges[1] - edges[0]))
    ax.tick_params(which="both", labelsize=7)
    ax.legend(fontsize=7)
