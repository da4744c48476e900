"""`python -m virnucpro` is `virnucpro`."""

from virnucpro.system.importing import import_safely


def main() -> None:
    """Run the command line with modules from safe places."""
    import_safely()
    from virnucpro.cli.app import main as run  # noqa: PLC0415 (after the path is safe)

    run()


if __name__ == "__main__":
    main()
