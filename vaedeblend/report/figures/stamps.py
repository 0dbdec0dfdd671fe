"""Figures made of stamps: the data, the PSF, light profiles, SExtractor's failures, latents."""

from collections.abc import Mapping

import numpy as np
from astropy.table import Table
from jaxtyping import Float
from matplotlib.figure import Figure
from matplotlib.patches import Circle

from vaedeblend.evaluate.evaluation import QUANTILES
from vaedeblend.evaluate.latents import STEPS
from vaedeblend.evaluate.metrics import ExampleColumns
from vaedeblend.evaluate.table import at_quantiles
from vaedeblend.exceptions import NoData
from vaedeblend.report.figures.style import (
    COLOURS,
    LIGHT,
    RESIDUAL,
    SETS,
    Sets,
    canvas,
    draw_colour_bars,
    draw_stamp,
    robust_rms,
)

CLASSES = {
    "missed": "no object",
    "one": "one object, |e| of 50-75 %",
    "one_beyond": "one object, |e| over 75 %",
    "several": "two or more, |e| over 50 %",
}
"""The talk's names of the classes of SExtractor's failures."""

_SHOWN = 7
_MARK = {"fill": False, "lw": 1.1}

Images = Mapping[str, np.ndarray]
"""Images of the test stamps of one kind of scene, as `evaluation.Evaluation` holds them."""


def example_stamps(sets: Sets, images: Mapping[str, Images], scale: float) -> Figure:
    """Draws noisy test stamps of each kind, from bright to faint.

    Args:
        sets: Per-example tables by kind of scene.
        images: Images by kind of scene.
        scale: Pixel scale [arcsec].
    """
    kinds = [kind for kind in sets if kind in images and len(sets[kind]["magnitude"])]
    if not kinds:
        raise NoData("no test stamps")
    figure, axes = canvas(len(kinds), _SHOWN, (10.5, 1.72 * len(kinds) + 0.6))
    for row, kind in zip(axes, kinds, strict=True):
        column = sets[kind]
        chosen = at_quantiles(column["magnitude"], np.linspace(0.02, 0.98, _SHOWN).tolist())
        for axis in row:
            axis.set_axis_off()
        for axis, i in zip(row, chosen, strict=False):
            axis.set_axis_on()
            image = images[kind]["input"][i, ..., 0]
            light = draw_stamp(axis, image, LIGHT, robust_rms(image))
            said = f"{column['magnitude'][i]:.1f} mag"
            if kind != "isolated":
                said += f", purity {column['purity'][i]:.2f}"
            axis.set_xlabel(said, size=8)
        _ruler(row[0], scale)
        row[0].set_ylabel(kind, color=SETS[kind], weight="bold")
    _light_bar(figure, axes, light)
    return figure


def effective_psf(image: Float[np.ndarray, "side side"], scale: float, column: Table) -> Figure:
    """Draws the effective PSF, its profile, and the light within a radius.

    Args:
        image: Effective PSF, of unit sum.
        scale: Pixel scale of the image [arcsec].
        column: ExampleColumns of `curves.psf_table`: radius [arcsec], profile, enclosed.
    """
    figure, axes = canvas(1, 3, (10, 3.3), width_ratios=(1, 1.25, 1.25))
    first, second, third = axes[0]
    half = image.shape[0] * scale / 2
    peak = image / image.max()
    with np.errstate(divide="ignore", invalid="ignore"):
        shown = np.log10(np.where(peak > 0, peak, np.nan))
    drawn = first.imshow(
        shown, cmap="Greys", vmin=-5, vmax=0, origin="lower", extent=(-half, half, -half, half)
    )
    first.set(xlabel="x [arcsec]", ylabel="y [arcsec]", title="log10 of the light / peak")
    first.grid(False)
    figure.colorbar(drawn, ax=first, shrink=0.85)
    second.semilogy(column["radius"], column["profile"], "o-", ms=3.5, color="#1C2127")
    second.set(xlabel="radius [arcsec]", ylabel="light / peak", title="profile", xlim=(0, None))
    third.plot(column["radius"], column["enclosed"], "o-", ms=3.5, color="#1C2127")
    third.set(xlabel="radius [arcsec]", ylabel="share of the light within", title="enclosed light")
    third.set(ylim=(0, 1.02), xlim=(0, None))
    return figure


def profiles(column: ExampleColumns, images: Images, scale: float) -> Figure:
    """Draws input, truth, reconstruction, residual and a posterior sample of four stamps.

    They are the best, the typical, a bad and the worst one by the cosine distance between
    reconstruction and truth.

    Args:
        column: Per-example table of one kind of scene.
        images: Images of its stamps.
        scale: Pixel scale [arcsec].
    """
    chosen = at_quantiles(column["cosine_distance"], QUANTILES)
    if not len(chosen):
        raise NoData("no stamp has a reconstruction that can be compared with its truth")
    titles = ("input", "truth", "reconstruction", "reconstruction − truth", "one posterior sample")
    figure, axes = canvas(len(chosen), 5, (10.5, 2.1 * len(chosen) + 0.6))
    for axis, title in zip(axes[0], titles, strict=True):
        axis.set_title(title)
    samples = images.get("sample", [None] * len(chosen))
    for row, quantile, i, sample in zip(axes, QUANTILES, chosen, samples, strict=False):
        three = _three(images, i)
        rms = robust_rms(three[0])
        for axis, stamp in zip(row, three, strict=False):
            light = draw_stamp(axis, stamp, LIGHT, rms)
        residual = draw_stamp(row[3], three[2] - three[1], RESIDUAL, rms)
        if sample is None:
            row[4].set_axis_off()
        else:
            draw_stamp(row[4], sample[..., 0], LIGHT, rms)
        row[0].set_ylabel(_said(column, i, quantile), size=8)
    _ruler(axes[0, 0], scale)
    draw_colour_bars(
        figure,
        {"light": light, "residual": residual},
        {"light": axes[:, :3], "residual": axes[:, 3:]},
    )
    return figure


def three_blends(column: ExampleColumns, images: Images) -> Figure:
    """Draws input, truth and reconstruction of three typical blends."""
    order = np.argsort(np.abs(column["purity"] - 0.75), kind="stable")[:60]
    order = order[np.argsort(column["cosine_distance"][order], kind="stable")]
    if len(order) < 3:
        raise NoData("fewer than three blends")
    chosen = order[[len(order) // 4, len(order) // 2, 3 * len(order) // 4]]
    figure, axes = canvas(3, 3, (4.0, 4.1))
    for axis, title in zip(axes[0], ("input", "truth", "deblended"), strict=True):
        axis.set_title(title)
    for row, i in zip(axes, chosen, strict=True):
        three = _three(images, i)
        for axis, stamp in zip(row, three, strict=True):
            draw_stamp(axis, stamp, LIGHT, robust_rms(three[0]))
        row[0].set_ylabel(f"purity {column['purity'][i]:.2f}", size=8.5)
        row[2].set_xlabel(f"flux off by {100 * column['vae_error'][i]:+.0f} %", size=8.5)
    return figure


def failures(column: ExampleColumns, images: Images, scale: float) -> Figure:
    """Draws stamps of each class of SExtractor's failures, its segments and the true positions.

    Args:
        column: Per-example table of one kind of scene.
        images: Images of its stamps.
        scale: Pixel scale [arcsec].
    """
    classes = [name for name in CLASSES if (column["default_failure"] == name).any()]
    if not classes:
        raise NoData("SExtractor has no failure in this set")
    figure, axes = canvas(len(classes), _SHOWN - 1, (10.5, 2.05 * len(classes) + 0.3))
    for row, name in zip(axes, classes, strict=True):
        rows = np.flatnonzero(column["default_failure"] == name)
        chosen = rows[np.linspace(0, len(rows) - 1, min(len(rows), _SHOWN - 1)).astype(int)]
        for axis in row:
            axis.set_axis_off()
        for axis, i in zip(row, chosen, strict=False):
            axis.set_axis_on()
            _failed_stamp(axis, column, images, i)
        _ruler(row[0], scale)
        row[0].set_title(f"{CLASSES[name]}: {len(rows)} stamps", size=9.5)
    return figure


def _failed_stamp(axis, column: ExampleColumns, images: Images, i) -> None:
    """Draws a stamp, the outlines of SExtractor's segments, and the true positions."""
    image = images["input"][i, ..., 0]
    draw_stamp(axis, image, LIGHT, robust_rms(image))
    labels = images["segmentation"][i]
    for label in np.unique(labels[labels > 0]):
        axis.contour(labels == label, [0.5], colors=COLOURS["SExtractor"], linewidths=1.1)
    middle = (image.shape[0] - 1) / 2
    for k, (y, x) in enumerate(column["position"][i]):
        if np.isfinite(y + x):
            colour = COLOURS["network"] if k == 0 else "#1C2127"
            place = (x + middle, y + middle)
            axis.add_patch(Circle(place, 2.2 if k == 0 else 1.4, edgecolor=colour, **_MARK))
    side = image.shape[0]
    axis.set(xlim=(-0.5, side - 0.5), ylim=(-0.5, side - 0.5))
    error = column["sextractor_default_error"][i]
    found = "missed" if error == -1 else f"e = {100 * error:+.0f} %"
    axis.set_xlabel(f"{found}; N = {column['default_n_objects'][i]}", size=8)


def traversals(images: Float[np.ndarray, "dim step height width"], numbers: Mapping) -> Figure:
    """Draws how each of the most used latent dimensions changes the median galaxy.

    Args:
        images: Decoded light along each dimension.
        numbers: Numbers of the latent space (`latents.study`), with its traversals.
    """
    side, cut = images.shape[-1], images.shape[-1] * 3 // 8
    middle = slice(cut, side - cut)
    figure, axes = canvas(len(images), len(STEPS), (6.6, 1.02 * len(images) + 0.4))
    top = images.max()
    for row, stamps, each in zip(axes, images, numbers["traversals"], strict=True):
        for axis, stamp in zip(row, stamps, strict=True):
            scale = LIGHT | {"norm": None, "vmin": 0.0, "vmax": float(np.sqrt(top))}
            draw_stamp(axis, np.sqrt(stamp[middle, middle].clip(0)), scale, 1.0)
        row[0].set_ylabel(f"z{each['dimension']}", rotation=0, ha="right", va="center", size=9.5)
        said = f"radius × {each['radius_factor']:.2f}\naxis ratio {each['axis_ratio_change']:+.2f}"
        said += f"\nmoves {each['shift']:.2f} pix"
        row[-1].yaxis.set_label_position("right")
        row[-1].set_ylabel(said, rotation=0, ha="left", va="center", size=8, labelpad=6)
    for axis, step in zip(axes[0], STEPS, strict=True):
        axis.set_title(f"{step:+.0f} σ", loc="center", weight="normal")
    return figure


def _three(images: Images, i) -> tuple:
    """Input, truth and reconstruction of a stamp in the first band."""
    return tuple(images[name][i, ..., 0] for name in ("input", "truth", "reconstruction"))


def _said(column: ExampleColumns, i, quantile: float) -> str:
    """The words beside a row of profiles."""
    said = f"{100 * quantile:g} % are better\n1 − cos = {column['cosine_distance'][i]:.1e}\n"
    said += f"network e = {100 * column['vae_error'][i]:+.0f} %"
    theirs = column["sextractor_error"][i]
    said += f"\nSExtractor {100 * theirs:+.0f} %" if np.isfinite(theirs) else ""
    return said if column["n_companions"][i] == 0 else said + f"\npurity {column['purity'][i]:.2f}"


def _ruler(axis, scale: float) -> None:
    """Draws a bar of one arcsecond in the lower left corner."""
    axis.plot([4, 4 + 1 / scale], [4, 4], "-", color="#1C2127", lw=2, solid_capstyle="butt")
    axis.text(4, 6, "1″", size=8)


def _light_bar(figure: Figure, axes, light) -> None:
    draw_colour_bars(figure, {"light": light}, {"light": axes})
