# Copyright (C) tb-rpc contributors.

"""What ends the program, in words."""


class Failure(Exception):
    """Refused, or failed: exit code 1."""

    status = 1


class Usage(Failure):
    """Wrong usage: exit code 2."""

    status = 2


class Unconfirmed(Failure):
    """Done, but too few replicas have it: exit code 3."""

    status = 3
