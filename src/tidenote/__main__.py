"""`python -m tidenote` is the same as `tidenote`."""

from tidenote.cli.main import main

main()
