"""Configurations of train.py: Python files that return a ConfigDict."""
