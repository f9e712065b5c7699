"""Work whose import takes 300 MiB."""

from pleura.processes.isolation import Reply

HEAVY = bytearray(300 << 20)


def nothing(_):
    return Reply({})
