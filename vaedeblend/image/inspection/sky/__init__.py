"""The sky between the sources: how it scatters, part by part, and what the noise's map says of it.

blocks --noise, regions, total--> findings, photon noise; mosaic --background--> files of both.
Imports deblend, io, exceptions.
"""
