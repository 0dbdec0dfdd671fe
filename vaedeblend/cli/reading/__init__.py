"""How a command line is read: words, files of settings, and paths that have to lead somewhere.

Imports `exceptions`, and io where it is needed.
"""
