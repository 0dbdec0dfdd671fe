"""Galaxies in their rest frame, from which a generator learns."""

from data_builders.canonical_galaxies.canonical_galaxies_dataset_builder import Builder

__all__ = ["Builder"]
