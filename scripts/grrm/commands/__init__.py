"""The subcommands of `grrm`, one module each (HELP, add_arguments(parser), run(args)), and what they share."""
