"""How networks learn: scenes composed on the device, noise, objectives, the loop, calibration.

Imports image, deblend, simulate and what is below them.
"""
