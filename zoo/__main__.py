"""`python -m zoo` is `zoo`, and so torchrun can start it."""

from zoo.cli import main

if __name__ == "__main__":
    main()
