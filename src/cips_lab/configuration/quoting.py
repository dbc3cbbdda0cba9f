"""Values as Hydra's grammar takes them."""

import re


def quoted(text: str) -> str:
    """A value in double quotes, whatever is in it: backslashes are special before a quote alone.

    A reference, `${...}`, keeps its meaning.
    """
    return '"' + re.sub(r'(\\*)("|$)', lambda found: found[1] * 2 + (found[2] and '\\"'), text) + '"'
