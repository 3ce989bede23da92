"""`bbtvp report`."""

from __future__ import annotations

from pathlib import Path

import click

from bbtvp.cli.options import (
    choice_option,
    give,
    json_flag,
    loader_with,
    own_metric_option,
    say,
)

SCHEMA = "bbtvp.report/1"


@click.command()
@click.argument("run", metavar="RUN", type=click.Path(path_type=Path, file_okay=False))
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The file to write [default: report.html in RUN].",
)
@choice_option("--lang", choices=["en", "ja"], help="Language of the page.")
@click.option("--images/--no-images", default=True, show_default=True, help="Show test images.")
@own_metric_option
@json_flag
def report(
    *,
    run: Path,
    output: Path | None,
    lang: str,
    images: bool,
    metric: str | None,
    as_json: bool,
) -> None:
    """Write one HTML file about a run, or about a folder of jobs.

    RUN is the --out of optimize or run. The page shows the verdict, then the proof, test images
    before and after, the search, what robustness and effects found, the costs, and how to reproduce
    the run. No model is asked. The page needs no network, and any browser prints it to PDF. It
    holds test images unless --no-images is given.
    """
    from bbtvp.core.files import atomic_write
    from bbtvp.report.html.report import report as reported

    page = reported(run, lang, images=images, loader=loader_with(metric)).encode("utf-8")
    path = output or run / ("report.html" if lang == "en" else f"report.{lang}.html")
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic_write(path, page)
    if as_json:
        give({"schema": SCHEMA, "file": str(path), "bytes": len(page), "language": lang})
    else:
        say(f"{len(page) / 1e6:.1f} MB")
        click.echo(path)
