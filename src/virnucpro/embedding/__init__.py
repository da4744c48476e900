"""`embed`: embeddings of proteins and DNA."""
