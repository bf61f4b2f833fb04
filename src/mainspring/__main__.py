"""``python -m mainspring``: the same as the command ``mainspring``. Nothing else lives here."""

from mainspring.cli.main import main

if __name__ == "__main__":
    main()
