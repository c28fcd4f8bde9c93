"""`python -m pygmy` is the `pygmy` command."""

from pygmy.cli.main import main

if __name__ == "__main__":
    main()
