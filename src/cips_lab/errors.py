"""The one exception that a user's mistake raises: commands print its message alone, without a traceback."""


class UserError(Exception):
    """Input that cannot be used: a file, an option or a value, with the remedy in its message.

    Commands turn it into one line on standard error and exit status 2.
    """
