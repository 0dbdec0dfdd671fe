"""Which galaxies there are: tables as users have them, EGG's own, and draws from them.

Imports io, survey, exceptions.
"""
