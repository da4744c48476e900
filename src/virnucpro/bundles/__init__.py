"""Bundles: a directory with encoders, head, tokenizer and a manifest that describes them."""

from virnucpro.bundles.manifest import Manifest
from virnucpro.bundles.store import Bundle, load_bundle, write_bundle
from virnucpro.bundles.stored_encoder import Model, load_model

__all__ = ["Bundle", "Manifest", "Model", "load_bundle", "load_model", "write_bundle"]
