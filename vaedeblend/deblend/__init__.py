"""What a trained network says of stamps: fluxes, errors and profiles, of all who share pixels.

Imports models, pixels, io, survey, exceptions.
"""
