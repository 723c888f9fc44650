"""All commands under one name, and what becomes of their errors."""

from __future__ import annotations

import os
import sys

import typer

from rtdecode.cli import (
    analysing,
    batch,
    benchmark,
    calibrating,
    calibrating_model,
    check_model,
    decide,
    engine,
    estimating,
    estimating_camera,
    evaluating,
    exchange,
    files,
    importing,
    making,
    runs,
    serve,
    sweeping,
    tools,
    volumes,
)
from rtdecode.core.errors import RtdecodeError

app = typer.Typer(
    name="rtdecode",
    help="Real-time single-molecule localization: dense 3D emitters, three-frame context, at the camera's pace.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)
_FOR_MODELS = (
    calibrating, calibrating_model, estimating, estimating_camera, importing, check_model, engine, benchmark,
)  # fmt: skip
_FOR_RUNS = (runs, serve, decide, files, evaluating, exchange, analysing, volumes, batch)
for group in (*_FOR_RUNS, making, sweeping, *_FOR_MODELS, tools):
    group.register(app)


def run(arguments: list[str]) -> int:
    """The exit status of one command line; usage errors are told by typer, with status 2."""
    try:
        app(arguments)
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else 0
    except RtdecodeError as error:
        print(f"rtdecode: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:  # `rtdecode report RUN | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python's last flush would fail, too
        return 141  # as of a program that SIGPIPE ended
    return 0
