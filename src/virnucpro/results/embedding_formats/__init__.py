"""Files of embeddings, one module a format; `virnucpro.results.embedding_files` is the way in.

Every module has `write(path, shape, metadata, parts)` and `open_file(path)`, a context that
gives an `OpenFile`.
"""
