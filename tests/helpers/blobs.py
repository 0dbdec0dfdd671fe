"""Groups of round Gaussians, and their refinement."""

import jax
import jax.numpy as jnp
import numpy as np

from vaedeblend.deblend.refine import make_refine

STAMP, FRAME, BANDS = 16, 20, 2
FAR = 60
HOME = (FRAME - STAMP) // 2
RMS, GAIN = 1.0, 30.0


def blobs(latent, condition, xp=jnp):
    """Round Gaussians; latent: y, x [pixel], ln(width) / 0.2; condition: width [pixel]."""
    grid = xp.arange(STAMP) - (STAMP - 1) / 2
    square = (grid[:, None] - latent[:, 0, None, None]) ** 2
    square = square + (grid - latent[:, 1, None, None]) ** 2
    width = condition[:, :1] * xp.exp(0.2 * latent[:, 2:3]) * xp.array([1.0, 1.3])
    variance = width[:, None, None] ** 2
    return xp.exp(-square[..., None] / (2 * variance)) / (2 * np.pi * variance)


refine_blobs = make_refine(blobs)


def truth(rng, groups, members, flux=(100, 1000)):
    """Arguments of a refinement with its start at the truth, and its image without noise."""
    latent = rng.normal(size=(groups, members, 3))
    flux = np.exp(rng.uniform(*np.log(flux), size=(groups, members, BANDS)))
    corner = HOME + rng.integers(-4, 5, size=(groups, members, 2))
    corner[:, 0] = HOME
    shape = (groups, FRAME, FRAME, BANDS)
    scene = {
        "variance": np.full(shape, RMS**2),
        "gain": np.full((groups, BANDS), GAIN),
        "condition": np.full((groups, 1), 1.6),
        "latent": latent,
        "flux": flux,
        "corner": corner,
        "present": np.ones((groups, members), bool),
    }
    images = [model_image({k: v[i] for k, v in scene.items()}) for i in range(groups)]
    return {"image": np.array(images).reshape(shape), **scene}


def model_image(group, flux=None, latent=None):
    """The model of one group in NumPy's doubles, cut out of a sky that all stamps are within."""
    flux = group["flux"] if flux is None else flux
    latent = group["latent"] if latent is None else latent
    profiles = blobs(latent, np.broadcast_to(group["condition"], (len(latent), 1)), np)
    sky = np.zeros((FRAME + 2 * FAR, FRAME + 2 * FAR, BANDS))
    for profile, each, (y, x) in zip(profiles, flux, group["corner"] + FAR, strict=True):
        sky[y : y + STAMP, x : x + STAMP] += each * profile
    return sky[FAR:-FAR, FAR:-FAR]


def noisy(rng, scene):
    noise = rng.normal(size=scene["image"].shape)
    sigma = np.sqrt(scene["variance"] + scene["image"] / scene["gain"][:, None, None])
    return {**scene, "image": scene["image"] + sigma * noise}


def shaken(rng, scene, latent=0.3, log_flux=0.1):
    """The same with a start away from the truth."""
    moved = scene["latent"] + latent * rng.normal(size=scene["latent"].shape)
    factor = np.exp(log_flux * rng.normal(size=scene["flux"].shape))
    return {**scene, "latent": moved, "flux": scene["flux"] * factor}


def group_of(scene, i):
    return {name: value[i] for name, value in scene.items()}


def call(refine, scene):
    types = {"corner": jnp.int32, "present": bool}
    arrays = {name: jnp.asarray(v, types.get(name, jnp.float32)) for name, v in scene.items()}
    return jax.tree.map(np.asarray, refine(*arrays.values()))


def refined_pairs():
    """48 noisy pairs, as a network would leave them, and their refinement."""
    rng = np.random.default_rng(7)
    true = truth(rng, 48, 2)
    start = shaken(rng, noisy(rng, true))
    return start, call(refine_blobs, start)
