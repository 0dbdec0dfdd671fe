"""The networks and their densities: VAE, flow, flux distribution, losses, generator.

Imports survey, exceptions.
"""
