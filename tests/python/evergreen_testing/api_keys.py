"""API keys, as `evergreen key` makes them."""

import subprocess


def make(evergreen: str, name: str, *roles: str) -> tuple[str, str]:
    """Returns a key, and the lines for the key file."""
    words = [word for role in roles for word in ("--role", role)]
    made = subprocess.run([evergreen, "key", name, *words], capture_output=True, text=True, check=True)
    return made.stderr.split()[-1], made.stdout
