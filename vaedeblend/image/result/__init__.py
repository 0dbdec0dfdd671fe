"""A deblended image for notebooks: its catalogue, light and posteriors, and a figure of it.

Imports image, deblend, pixels and what is below them; matplotlib when a figure is drawn.
"""
