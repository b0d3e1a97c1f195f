"""Reads the hand-written texts in `text/`: one entry a line, so that they can be read and mended without Python."""

from pathlib import Path

FOLDER = Path(__file__).parent / "text"


def lines(name: str) -> list[str]:
    """The lines of `text/<name>.txt`."""
    return (FOLDER / f"{name}.txt").read_text().splitlines()


def table(name: str) -> dict[str, str]:
    """Lines of the form `key: value`, in the order of the file."""
    return dict(line.split(": ", 1) for line in lines(name))


def blocks(name: str) -> list[list[str]]:
    """Groups of lines with an empty line between them; the first line of each starts with `# `."""
    return [block.splitlines() for block in "\n".join(lines(name)).split("\n\n")]


def alternatives(value: str) -> list[str]:
    """Ways to say one thing, with ` | ` between them."""
    return [part.strip() for part in value.split(" | ")]


def listed(text: str) -> list[str]:
    """The entries of a comma-separated text; a line break is a space."""
    return [entry.strip() for entry in text.replace("\n", " ").split(",") if entry.strip()]
