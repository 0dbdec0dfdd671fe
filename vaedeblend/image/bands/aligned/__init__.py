"""Further bands on the pixels of the first one, for networks of several bands."""
