"""Files of embeddings: one module per format, and `any_format`, which calls the right one.

The module of a format has `write(path, shape, metadata, parts)`, and `open_file(path)`, a context
manager that yields an `OpenFile`.
"""
