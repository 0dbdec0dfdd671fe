"""What lies outside: files that appear whole or not at all, the terminal, other processes.

Imports survey, exceptions.
"""
