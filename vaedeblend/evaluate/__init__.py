"""How good it is, and against whom: flux errors, bounds, SExtractor, latent spaces, realism.

Imports image, deblend, simulate and what is below them.
"""
