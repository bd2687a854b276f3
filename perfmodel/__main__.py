"""The command line: ``perfmodel`` and ``python -m perfmodel``."""

import os
import sys
from collections.abc import Sequence

import click

from perfmodel._version import __version__
from perfmodel.commands.calibrate import calibrate_command
from perfmodel.commands.compare import compare_command, run_command
from perfmodel.commands.conform import conform_command
from perfmodel.commands.doctor import doctor_command
from perfmodel.commands.explore import explore_command
from perfmodel.commands.ingest import ingest_group
from perfmodel.commands.params import params_command
from perfmodel.commands.plot import plot_command
from perfmodel.commands.report import report_command
from perfmodel.commands.scale import scale_command
from perfmodel.commands.sensitivity import sensitivity_command
from perfmodel.commands.steady import steady_command
from perfmodel.commands.sweep import sweep_command
from perfmodel.commands.validate import validate_command
from perfmodel.errors import InputError, Interrupted, ModelError, one_line

OK, FAILED, BAD_INPUT, INTERRUPTED = 0, 1, 2, 130


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="perfmodel")
def cli() -> None:
    """What it costs to map a TDX guest's private memory: from the EPT violation in the TD through KVM to the
    TDX module's SEAMCALLs and back, in exact counts and in time with an interval.

    Exit status: 0 done, 1 a check failed, 2 bad input, 130 interrupted.
    """


for command in (
    compare_command,
    run_command,
    params_command,
    ingest_group,
    plot_command,
    explore_command,
    steady_command,
    scale_command,
    sweep_command,
    report_command,
    calibrate_command,
    validate_command,
    sensitivity_command,
    conform_command,
    doctor_command,
):
    cli.add_command(command)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit with its status; every error is one line on stderr."""
    try:
        status = cli.main(arguments, prog_name="perfmodel", standalone_mode=False)
        sys.stdout.flush()
    except click.exceptions.NoArgsIsHelpError as error:
        print(error.format_message())
        sys.exit(BAD_INPUT)
    except click.ClickException as error:
        _fail(error.format_message(), BAD_INPUT)
    except InputError as error:
        _fail(str(error), BAD_INPUT)
    except ModelError as error:
        _fail(f"the model contradicts itself, please report this: {error}", FAILED)
    except (KeyboardInterrupt, click.Abort) as error:
        told = error.__cause__ if isinstance(error.__cause__, Interrupted) else None  # click's own comes on top
        _fail(str(told) if told else "interrupted; no file was left half written", INTERRUPTED)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the reader, such as head, has enough
        sys.exit(OK)
    except MemoryError as error:
        _fail(f"not enough memory on this machine: {error}", FAILED)
    except OSError as error:
        _fail(f"{error.filename or 'input or output'}: {error.strerror or error}", BAD_INPUT)
    sys.exit(status if isinstance(status, int) else OK)


def _fail(message: str, status: int) -> None:
    print(f"perfmodel: {one_line(message)}", file=sys.stderr)
    sys.exit(status)


if __name__ == "__main__":
    main()
