"""`embed`: vectors of proteins or DNA."""
