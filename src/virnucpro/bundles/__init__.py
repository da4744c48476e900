"""Bundles: a directory with encoders, head, tokenizer and a manifest that describes them."""

from virnucpro.bundles.manifest import Manifest
from virnucpro.bundles.store import Bundle, load_bundle, write_bundle

__all__ = ["Bundle", "Manifest", "load_bundle", "write_bundle"]
