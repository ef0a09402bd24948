class UserError(Exception):
    """Something the user can mend: one clear sentence that says what to do.

    The command line prints it and exits with 2, the tab and the API show it as it is.
    """
