"""`python -m evergreen_serving.bundle`."""

from evergreen_serving.bundle.command import main

main()
