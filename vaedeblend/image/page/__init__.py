"""The page about a deblended image: what was found, how well, where not; all within one file."""
