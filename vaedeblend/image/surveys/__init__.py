"""From the tiles of a survey to one catalogue, on any number of machines.

Imports image, euclid, io and what is below them. dask and hats-import are the extra `survey`.
"""
