"""report.html: what a finished run found, in one file for a browser."""
