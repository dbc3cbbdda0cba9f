"""The suite finds the signals of a terminal, also where it was started in the background (`make test &`)."""

import signal

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # so POSIX shells start what they do not wait for
    signal.signal(signal.SIGINT, signal.default_int_handler)
