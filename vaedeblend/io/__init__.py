"""Files and folders, written whole or not at all: images, datasets, checkpoints, workdirs, pages.

Imports survey, exceptions.
"""
