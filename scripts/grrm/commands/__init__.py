"""The subcommands of `grrm`, one module each (HELP, add_arguments(parser), run(args)); what they share."""
