"""The run: blocks of records in, shards of scores out, by the four rules of docs/design.md."""
