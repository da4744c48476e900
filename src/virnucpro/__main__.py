"""`python -m virnucpro` is `virnucpro`."""

from virnucpro.cli.app import main

if __name__ == "__main__":
    main()
