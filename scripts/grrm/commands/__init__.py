"""The subcommands of `grrm`, one module each: HELP, add_arguments(parser) and run(args)."""
