"""Shards in, tables out: everything a user finds in the output directory (docs/outputs.md)."""
