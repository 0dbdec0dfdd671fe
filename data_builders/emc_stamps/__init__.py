"""Stamps of a folder in the layout of the Euclid Morphology Challenge."""

from data_builders.emc_stamps.emc_stamps_dataset_builder import Builder

__all__ = ["Builder"]
