"""``python -m synthgen``: the command line."""

from synthgen.cli.app import main

if __name__ == "__main__":
    main()
