"""Every input compared with the pixels before anything is measured, and what was assumed.

mosaic --samples--> blocks of sky --sky, gaps, ends, lists, calibration, psfs--> findings
findings --inspect--> refusal, or corrections and what is said

Imports deblend, catalogues, io, pixels, survey, exceptions.
"""
