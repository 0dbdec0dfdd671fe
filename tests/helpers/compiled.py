"""Networks as one program a call: operation by operation, each is compiled on its own."""

from functools import partial

import jax


@partial(jax.jit, static_argnums=0, static_argnames="method")
def apply(module, variables, *arguments, method=None):
    """As the method `apply` of a Flax module."""
    return module.apply(variables, *arguments, method=method)


@jax.jit
def moved(params, key):
    """Parameters as though trained: no layer is zero."""
    leaves, tree = jax.tree.flatten(params)
    keys = jax.random.split(key, len(leaves))
    shaken = [p + 0.1 * jax.random.normal(k, p.shape) for k, p in zip(keys, leaves, strict=True)]
    return jax.tree.unflatten(tree, shaken)
