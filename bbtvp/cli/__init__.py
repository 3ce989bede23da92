"""The command line: the only place that prints or exits.

Prose goes to stderr. With --json, stdout holds one document and nothing else.
"""

from __future__ import annotations

import errno
import signal
import sys
import warnings
from types import FrameType

import click

from bbtvp.cli import (
    apply,
    bench,
    bundle,
    bundle_share,
    compare,
    demo,
    doctor,
    effects,
    gc,
    listing,
    migrate,
    optimize,
    proxy,
    receipt,
    registry,
    registry_proofs,
    replies,
    report,
    reproduce,
    robustness,
    run,
    status,
    transfer,
    verify,
)
from bbtvp.cli.demo import DEMO_TASK as DEMO_TASK
from bbtvp.cli.options import say
from bbtvp.core.errors import BbtvpError


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="bbtvp")
@click.option(
    "--env-file",
    type=click.Path(exists=True, dir_okay=False),
    help="A file of VARIABLE=VALUE lines, for keys.",
)
def cli(env_file: str | None) -> None:
    """Find, prove and ship a visual prompt for a multimodal LLM that you can only call.

    \b
    Start here:
      bbtvp demo                           the whole job on the miniature models in this package
      bbtvp optimize --task photos/ --model hf/llava-hf/llava-1.5-7b-hf --out runs/photos
      bbtvp verify runs/photos/prompt.vprompt --task photos/ --model hf/llava-hf/llava-1.5-7b-hf
      bbtvp report runs/photos             one page about a run, for decisions and for checks
      bbtvp apply runs/photos/prompt.vprompt new/*.jpg -o prompted/
      bbtvp run jobs.toml                  many searches from one file
      bbtvp doctor --model openai/gpt-6-luna   what a vendor does to an image, costs, key, end

    Exit codes: 0 done, 1 failed, 2 usage, 3 budget reached before a usable prompt, 4 no-go and 5
    undecided (verify), 130 interrupted. A run that was stopped continues by the same command, and
    asks nothing twice.
    """  # noqa: D301
    if env_file:
        from dotenv import load_dotenv

        load_dotenv(env_file)  # what is set already stays


for command in (
    demo.demo,
    optimize.optimize,
    verify.verify,
    migrate.migrate,
    apply.apply,
    bundle.bundle,
    proxy.proxy,
    report.report,
    receipt.receipt,
    registry.registry,
    replies.replies,
    doctor.doctor,
    run.run,
    status.status,
    status.watch,
    reproduce.reproduce,
    compare.compare,
    transfer.transfer,
    robustness.robustness,
    effects.effects,
    gc.gc,
    bench.bench,
    listing.models,
    listing.tasks,
):
    cli.add_command(command)


for part in (
    bundle_share.keygen,
    bundle_share.sign,
    bundle_share.strip,
    bundle_share.diff,
    bundle_share.patch,
    bundle_share.pull,
    bundle_share.push,
):
    bundle.bundle.add_command(part)
for part in (registry_proofs.verify, registry_proofs.check, registry_proofs.suggest):
    registry.registry.add_command(part)


def main() -> None:
    """Run the command line.

    An error that bbtvp raises on purpose becomes one line and an exit code. Any other is a bug, and
    its traceback shows.
    """
    signal.signal(signal.SIGTERM, _interrupt)
    warnings.formatwarning = _one_line
    try:
        cli(prog_name="bbtvp", standalone_mode=False)
    except click.exceptions.Exit as exit_:
        sys.exit(exit_.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (KeyboardInterrupt, click.Abort):
        say("interrupted; what was answered is kept: run the same command to continue")
        sys.exit(130)
    except BbtvpError as error:
        say(f"error: {error}")
        sys.exit(error.exit_code)
    except OSError as error:
        say(f"error: {_disk(error)}")
        sys.exit(1)


def _disk(error: OSError) -> str:
    where = f"{error.filename}: " if error.filename else ""
    if error.errno == errno.ENOSPC:
        return f"{where}no space left on the disk; free some and {_AGAIN}"
    said = f"{where}{error.strerror or error}"
    if error.errno in (errno.EDQUOT, errno.EFBIG):
        return f"{said}; raise the quota or the limit of a file's size and {_AGAIN}"
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"{said}; name another place, or allow it there"
    return said


_AGAIN = "run the same command: what was answered is kept"


def _one_line(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    line: str | None = None,
) -> str:
    """A warning without the place in the code that gave it."""
    return f"warning: {message}\n"


def _interrupt(signum: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
