"""Executors hand out blocks to devices; they share the worker and know nothing of biology."""
