"""`python -m pleura` is the `pleura` command."""

from pleura.cli.entry import main

if __name__ == "__main__":
    main()
