"""What galaxies look like on pixels, alone, in blends and in fields; the one home of GalSim.

Imports models, catalogues, pixels, io, survey, exceptions.
"""
