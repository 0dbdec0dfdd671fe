"""Images of a survey as files: windows of them read, results written whole or not at all."""

import contextlib
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from astropy.io import fits
from astropy.table import Table
from astropy.wcs import WCS
from astropy.wcs.utils import proj_plane_pixel_scales
from jaxtyping import Bool, Float


class MosaicError(ValueError):
    """An image file that cannot be used, or a result that cannot be written, and why."""


class Pixels(NamedTuple):
    image: Float[np.ndarray, "height width"]
    rms: Float[np.ndarray, "height width"] | None
    bad: Bool[np.ndarray, "height width"]


class Mosaic(NamedTuple):
    path: Path
    shape: tuple
    header: fits.Header
    wcs: WCS | None
    pixel_scale: float | None
    zero_point: float | None
    gain: float | None
    hdus: tuple

    def read(self, rows, columns) -> Pixels:
        image, rms, mask = (None if h is None else np.ascontiguousarray(h.section[rows, columns]).astype(np.float32) for h in self.hdus)
        bad = ~np.isfinite(image)
        if mask is not None:
            bad |= mask != 0
        if rms is not None:
            bad |= ~(np.isfinite(rms) & (rms > 0))
            rms[bad] = np.inf
        image[bad] = 0
        return Pixels(image, rms, bad)


@contextlib.contextmanager
def open_mosaic(image, *, rms=None, mask=None, hdu=None, zero_point=None, gain=None) -> Iterator[Mosaic]:
    with contextlib.ExitStack() as stack:
        def op(path, n=None):
            if path is None: return None
            f = stack.enter_context(fits.open(path))
            return f[n] if n is not None else next(h for h in f if h.is_image and h.header["NAXIS"] == 2)
        hs = op(image, hdu), op(rms), op(mask)
        h = hs[0].header
        wcs = WCS(h).celestial if "CTYPE1" in h else None
        scale = None if wcs is None else float(np.mean(proj_plane_pixel_scales(wcs)) * 3600)
        yield Mosaic(Path(image), hs[0].shape, h, wcs, scale, zero_point or h.get("MAGZERO"), gain or h.get("GAIN"), hs)


@contextlib.contextmanager
def write_image(path, shape, header, dtype=np.float32):
    partial = Path(str(path) + ".partial")
    header = header.copy(); 
    h = fits.PrimaryHDU(np.zeros((1,1),dtype), header).header; h["NAXIS1"], h["NAXIS2"] = shape[1], shape[0]
    partial.unlink(missing_ok=True)
    with fits.StreamingHDU(partial, h) as s:
        def put(rows): s.write(np.asarray(rows).astype(np.dtype(dtype).newbyteorder(">")))
        yield put
    partial.rename(path)


def write_tables(path, tables: Mapping[str, Table]) -> None:
    partial = Path(str(path) + ".partial")
    hd = [fits.PrimaryHDU()]
    for n, t in tables.items():
        x = fits.table_to_hdu(t); x.name = n; hd.append(x)
    fits.HDUList(hd).writeto(partial, overwrite=True); partial.rename(path)


def prepare_folder(path) -> Path:
    Path(path).mkdir(parents=True, exist_ok=True); return Path(path)


def image_header(mosaic) -> fits.Header:
    h = mosaic.wcs.to_header(relax=True) if mosaic.wcs is not None else fits.Header()
    return h
