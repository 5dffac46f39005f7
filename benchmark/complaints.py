"""What a person can mend is said in one message without a traceback, with exit code 2; everything else is a fault.

Messages go to standard error; what was asked for and how far it is goes to standard output.
"""

from __future__ import annotations

import errno
import sys
from typing import Any, NoReturn

import typer
from rich.console import Console

from .config import ConfigError

_NO_PLACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR)
_INTERRUPTED = 130
_EXTRAS = {"submitit": "slurm", "psycopg2": "postgres"}
_OWN = ("", "benchmark", "methods", "datasets")


def call(app: typer.Typer, console: Console) -> NoReturn:
    """Run the command line and leave with its exit code: 1 = some cells failed, 2 = refused, 130 = interrupted.

    Args:
        app: the verbs.
        console: where messages go.
    """
    # typer carries a click of its own since 0.2x; the base of its errors is found the same way in both
    bad_usage: Any = typer.BadParameter.__mro__[2]
    try:
        from datasets.base import DataError, SealedLabel
        from methods import BrokenMethod

        from .execute.server import ServerGone
        from .preflight import NotReady
        from .record import NewerRecord
    except ModuleNotFoundError as error:
        _refuse(console, _not_installed(error))
    except KeyboardInterrupt:  # while PyTorch is read
        console.print("interrupted; nothing had begun")
        sys.exit(_INTERRUPTED)
    try:
        code = app(standalone_mode=False)
    except bad_usage as error:
        error.show()
        sys.exit(2)
    except (ConfigError, BrokenMethod, DataError, NotReady, NewerRecord, SealedLabel) as error:
        _refuse(console, str(error))
    except ServerGone as error:
        _refuse(console, str(error), code=1)
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] in _OWN:
            raise
        _refuse(console, _not_installed(error))
    except OSError as error:
        if error.errno not in _NO_PLACE:
            raise
        where = error.filename or "a file"
        _refuse(console, f"{error.strerror}: {where}; free some space, or choose other folders")
    except (typer.Abort, KeyboardInterrupt):
        code = _INTERRUPTED
    if code == _INTERRUPTED:  # newer typers return it, older ones raise
        console.print("interrupted; the same command goes on from here")
    sys.exit(code)


def _refuse(console: Console, message: str, code: int = 2) -> NoReturn:
    console.print("error: ", style="red", end="", markup=False)
    console.print(message, soft_wrap=True, markup=False)
    sys.exit(code)


def _not_installed(error: ModuleNotFoundError) -> str:
    extra = _EXTRAS.get(error.name or "")
    remedy = f"make env EXTRAS={extra}" if extra else "make env"
    return f"{error.name} is not installed in {sys.prefix}; run `{remedy}`, or activate the environment that has it"
