"""How a command ends: the exceptions that need no traceback, and the exit statuses that they become."""

STATUS_MISTAKE = 2  # of `UserError`
STATUS_UNREADABLE = 3  # of a set that is whole without some pictures that could not be read
STATUS_REQUEUE = 75  # of `Interrupted`: EX_TEMPFAIL of sysexits.h, "try again": the same command continues
STATUS_AT_ONCE = 130  # a second Ctrl-C: 128 + SIGINT, as shells say it


class UserError(Exception):
    """Input that cannot be used: a file, an option or a value, with the remedy in its message.

    Commands turn it into one line on standard error and exit status 2.
    """


class DiskFull(UserError):
    """There is no room for a file of the run folder; what was there before is whole."""


class RunInUse(UserError):
    """Another process trains in this run folder."""


class NonFinite(UserError):
    """A loss or a gradient of this iteration is not finite; raised on all processes, before any weight took it in."""


class Interrupted(BaseException):
    """A signal ended a run early, and everything needed to continue it is on disk.

    Commands turn it into one line on standard error and exit status 75. No `Exception`, as `KeyboardInterrupt` is none:
    what handles errors must not take it for one.
    """
