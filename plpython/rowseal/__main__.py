"""``rowseal`` and ``python -m rowseal``: the command line, or what it lacks."""

import sys


def main() -> None:
    try:
        from .cli import app
    except ModuleNotFoundError as e:
        sys.stderr.write(
            f'error: the command needs the package {e.name}\nhint: pip install "rowseal[cli]"\n'
        )
        sys.exit(3)
    app()


if __name__ == "__main__":
    main()
