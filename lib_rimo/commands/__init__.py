"""The verbs of `python -m lib_rimo`, one module each.

A verb's module has `HELP` (one line), `add_arguments(parser)` and `run(arguments) -> int`
(the exit status). Its top level imports nothing but the standard library, so that `--help`
answers at once and before the environment is put up; `run` imports what it needs. A module whose
name begins with `_` is no verb, but what several share.
"""
