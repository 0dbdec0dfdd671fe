"""What an evaluation shows: one page, its sections and its figures.

Imports evaluate, training and what is below them.
"""
