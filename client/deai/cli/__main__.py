"""`python -m deai.cli`: the command, for a program that starts it again."""

from deai.cli import main

main(prog_name="deai")
