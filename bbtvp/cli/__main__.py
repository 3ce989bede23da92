"""`python -m bbtvp.cli`."""

from bbtvp.cli import main

if __name__ == "__main__":
    main()
