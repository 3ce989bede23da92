"""`bbtvp proxy`."""

from __future__ import annotations

import os
from pathlib import Path

import click

from bbtvp.cli.options import say, signed_by_option
from bbtvp.core.errors import UsageError


@click.command()
@click.option(
    "--upstream",
    required=True,
    help="Base URL of the vendor without the version, such as https://api.openai.com.",
)
@click.option("--bundle", type=click.Path(path_type=Path), help="The prompt for all requests.")
@signed_by_option
@click.option(
    "--routes",
    "routes_file",
    type=click.Path(path_type=Path),
    help="A TOML file of prompts and the requests they are for (docs/deploy.md).",
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), default=8080, show_default=True)
@click.option(
    "--format",
    "format_",
    type=click.Choice(["png", "jpeg", "webp"]),
    default="png",
    show_default=True,
    help="As what prompted images are sent.",
)
@click.option(
    "--share",
    type=click.FloatRange(0, 1),
    default=1.0,
    show_default=True,
    help="Share of the requests that is prompted; the others are the control.",
)
@click.option(
    "--shadow",
    type=click.FloatRange(0, 1),
    default=0.0,
    show_default=True,
    help="Prompt nothing, but send this share of the requests a second time, prompted, and count "
    "whether the answers are the same. Each copy is paid for by the client's key.",
)
@click.option(
    "--shadow-most",
    type=click.IntRange(0),
    default=10_000,
    show_default=True,
    help="Copies that --shadow sends in all.",
)
@click.option("--sticky", help="The header whose value decides between the two, such as x-user.")
@click.option(
    "--off-file",
    type=click.Path(path_type=Path),
    help="While this file exists, nothing is prompted.",
)
@click.option(
    "--fetch-images",
    is_flag=True,
    help="Fetch and prompt images that are given by their address, from the public internet only.",
)
@click.option(
    "--workers",
    type=click.IntRange(0),
    help="Processes that prompt images; 0 for threads.  [default: one per core]",
)
@click.option(
    "--grace",
    type=click.IntRange(0),
    default=60,
    show_default=True,
    help="Seconds that replies under way get to end, once the proxy is told to.",
)
@click.option(
    "--max-body",
    type=click.IntRange(1),
    default=64,
    show_default=True,
    help="Largest request that is prompted, in MiB; a larger one passes as it is.",
)
def proxy(
    *,
    upstream: str,
    bundle: Path | None,
    signed_by: tuple[str, ...],
    routes_file: Path | None,
    host: str,
    port: int,
    format_: str,
    share: float,
    shadow: float,
    shadow_most: int,
    sticky: str | None,
    off_file: Path | None,
    fetch_images: bool,
    workers: int | None,
    grace: int,
    max_body: int,
) -> None:
    """Prompt the images of an application on their way to UPSTREAM.

    Point the application's base URL at this proxy. Requests to chat completions, OpenAI's
    Responses, Anthropic's Messages, Gemini and Bedrock's Converse have their images prompted; all
    else passes as it is, and so does any request that cannot be prompted. Keys pass through and are
    never stored. Health and metrics: /bbtvp/health, /bbtvp/metrics. Signals: USR1 switches
    prompting off and USR2 on, HUP reads the bundles again, TERM ends it.

    \b
    Try:
      bbtvp proxy --bundle pets.vprompt --upstream https://api.openai.com
      OPENAI_BASE_URL=http://127.0.0.1:8080/v1 python your_application.py
    """  # noqa: D301
    if (bundle is None) == (routes_file is None):
        raise UsageError("give one prompt with --bundle, or a file of routes with --routes")
    if routes_file is not None and signed_by:
        raise UsageError("with --routes, a route says signed_by = [...] itself; leave --signed-by")
    if shadow and share != 1:
        raise UsageError("give --share or --shadow, not both")
    if not upstream.startswith(("http://", "https://")):
        raise UsageError(f"--upstream {upstream} must begin with https:// or http://")
    _check_server()
    from bbtvp.deploy.proxy import ProxySettings
    from bbtvp.deploy.routes import Route, read_routes
    from bbtvp.deploy.server import serve

    def routes() -> list[Route]:
        if routes_file is not None:
            return read_routes(routes_file)
        rule = {
            "bundle": bundle,
            "signed_by": signed_by,
            "share": share,
            "shadow": shadow,
            "sticky": sticky,
        }
        return [Route.model_validate(rule)]

    settings = ProxySettings(
        upstream,
        format=format_,
        off_file=off_file,
        max_body=max_body << 20,
        workers=os.cpu_count() or 1 if workers is None else workers,
        fetch_images=fetch_images,
        shadow_most=shadow_most,
    )
    at = f"[{host}]" if ":" in host else host

    def ready(port: int) -> None:
        say(f"bbtvp proxy: http://{at}:{port} -> {upstream}; Ctrl-C ends it")

    serve(routes, settings, host=host, port=port, grace=grace, ready=ready)


def _check_server() -> None:
    """Raise UsageError where the extra is not installed; the proxy's own lines go to stderr."""
    import logging

    try:
        import httpx  # noqa: F401
        import prometheus_client  # noqa: F401
        import starlette  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as error:
        raise UsageError(f"bbtvp proxy needs {error.name}: pip install 'bbtvp[proxy]'") from error
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    for chatty in ("httpx", "httpcore", "uvicorn.access"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
