"""Helpers of the programs for Python libraries."""

import time


def equal(what, found, expected):
    """Ends the program unless both values and their types are equal."""
    if found != expected or type(found) is not type(expected):
        raise SystemExit(f"{what}: found {found!r}, expected {expected!r}")


def raises(what, kind, text, action):
    """Ends the program unless the action fails in this way, with this text in the error."""
    try:
        action()
    except kind as error:
        if text not in str(error):
            raise SystemExit(f"{what}: the error is {error!r}, without {text!r}")
        return
    raise SystemExit(f"{what}: there is no error")


def eventually(what, read, expected):
    """Reads until the expected value is found."""
    deadline = time.monotonic() + 20
    while (found := read()) != expected:
        if time.monotonic() > deadline:
            raise SystemExit(f"{what}: still {found!r}, expected {expected!r}")
        time.sleep(0.01)
