"""`python -m labelloop` is the command `labelloop`."""

from labelloop.cli import main

main(prog_name="labelloop")
