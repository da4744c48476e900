"""`train`: bundles from labelled sequences; and the program that trains `compact`."""
