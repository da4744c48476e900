"""`evaluate`: how good predictions are on labelled records."""
