"""Where the `pleura` command begins: Ctrl-C is answered in one line even while modules are read."""

import os
import signal
from types import FrameType


def main() -> None:
    """Run the command line as :func:`pleura.cli.app.main` does."""
    signals = (signal.SIGINT, signal.default_int_handler), (signal.SIGTERM, signal.SIG_DFL)
    for number, usual in signals:
        if signal.getsignal(number) == usual:  # and is not ignored, as under nohup
            signal.signal(number, _end)
    from pleura.cli.app import main as run

    run()


def _end(number: int, _frame: FrameType | None) -> None:
    os.write(2, b"pleura: interrupted; nothing was begun\n")
    os._exit(128 + number)
