"""Figures of the report, by subject.

Imports evaluate and what is below it.
"""
