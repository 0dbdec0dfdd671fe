"""What a FITS file holds: which of its planes is wanted, and what a header says of an image."""
