"""``perfmodel ingest``: turn what a machine shows into a file that other commands take."""

from pathlib import Path

import click

from perfmodel.commands.ingest_file import add_file_commands
from perfmodel.commands.output import check_writable, progress_bar, warn
from perfmodel.errors import InputError


@click.group("ingest")
def ingest_group() -> None:
    """Read what a machine or a tool shows and store it for other commands."""


@ingest_group.command("host")
@click.option("--proc", type=click.Path(path_type=Path), default=Path("/proc"), show_default=True,
              help="Root of procfs, or a copy of it.")  # fmt: skip
@click.option("--sys", "sysfs", type=click.Path(path_type=Path), default=Path("/sys"), show_default=True,
              help="Root of sysfs, or a copy of it.")  # fmt: skip
@click.option("--seed", default=0, show_default=True, metavar="N",
              help="Seed of the addresses, where the host does not show them.")  # fmt: skip
@click.option("-o", "--output", required=True, metavar="FILE", help="JSON file for --host.")
def ingest_host(proc: Path, sysfs: Path, seed: int, output: str) -> None:
    """Store this host's free memory: orders of free blocks, addresses where readable, caches and clock.

    As root all is real. Without root, addresses are generated; the command says which files were missing and
    what that costs.
    """
    if output == "-":
        raise InputError("output '-': accepted is a file")
    check_writable(output)
    from perfmodel.host.proc import read_host
    from perfmodel.host.storage import save_host

    with progress_bar("pages of kpageflags") as progress:
        host = read_host(proc, sysfs, seed, progress)
    save_host(host, Path(output))
    for missing in host.missing:
        warn(f"{missing.file}: {missing.reason}: {missing.costs}")
    print(
        f"{output}: {host.block_pages / (1 << 18):.2f} GiB free in blocks, "
        f"{host.inferred_pages / (1 << 18):.2f} GiB free and inferred, addresses {host.addresses}"
    )


add_file_commands(ingest_group)
