"""Simulated galaxies, isolated and blended, with labels."""

from data_builders.galaxy_scenes.galaxy_scenes_dataset_builder import Builder

__all__ = ["Builder"]
