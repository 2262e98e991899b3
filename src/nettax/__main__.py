"""`python -m nettax`: the same as `nettax`."""

from nettax.cli import main

main()
