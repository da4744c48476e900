"""`calibrate`: fit probabilities to labelled reads."""
