"""Geometry of pixels: stamps cut and laid, PSFs, shapes of light, who overlaps whom.

Imports survey, exceptions.
"""
