"""`predict`: from reads and contigs to calls."""
