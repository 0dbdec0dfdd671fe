"""Geometry of pixels: stamps cut and laid, PSFs, shapes of light, who overlaps whom.

Imports io, survey, exceptions.
"""
