"""`python -m headrace` is the command `headrace`."""

from headrace.pipelines.cli.app import main

main()
