"""Fields in the layout of the Euclid Morphology Challenge, read, counted and written.

Imports simulate, catalogues, pixels, io and what is below them.
"""
