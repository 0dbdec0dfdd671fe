"""Configurations of the shipped weights' trainings, one after the other.

smooth -> mixture -> harder -> euclid_vis -> coadds -> companions
"""
