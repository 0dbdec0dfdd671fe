"""TFDS builders that materialise simulated stamps."""
