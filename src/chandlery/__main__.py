"""`python -m chandlery`."""

from chandlery.cli.main import program

if __name__ == "__main__":
    program()
