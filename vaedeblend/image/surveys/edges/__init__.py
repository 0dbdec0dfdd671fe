"""Where tiles of a survey meet: whose a source is, what lies beyond an edge, what both have found.

Imports surveys.listing and surveys.shards, and of image what measures a piece of it.
"""
