"""Files of embeddings, one module a format; `virnucpro.embedding.embedding_file` is the way in.

Every module has `write(path, shape, metadata, parts)` and `open_file(path)`, a context that
gives an `OpenFile`.
"""
