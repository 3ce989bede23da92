"""`bbtvp proxy`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from bbtvp.cli.options import say
from bbtvp.core.errors import UsageError


@click.command()
@click.option(
    "--upstream",
    required=True,
    help="Base URL of the vendor without the version, such as https://api.openai.com.",
)
@click.option("--bundle", type=click.Path(path_type=Path), help="The prompt for all requests.")
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
@click.option("--sticky", help="The header whose value decides between the two, such as x-user.")
@click.option(
    "--off-file",
    type=click.Path(path_type=Path),
    help="While this file exists, nothing is prompted.",
)
@click.option(
    "--max-body",
    type=click.IntRange(1),
    default=64,
    show_default=True,
    help="Largest request in MiB.",
)
def proxy(
    *,
    upstream: str,
    bundle: Path | None,
    routes_file: Path | None,
    host: str,
    port: int,
    format_: str,
    share: float,
    sticky: str | None,
    off_file: Path | None,
    max_body: int,
) -> None:
    """Prompt the images of an application on their way to UPSTREAM.

    Point the application's base URL at this proxy. Requests to chat completions, OpenAI's
    Responses, Anthropic's Messages, Gemini and Bedrock's Converse have their images prompted; all
    else passes as it is, and so does any request that cannot be prompted. Keys pass through and are
    never stored. Health and metrics: /bbtvp/health, /bbtvp/metrics.

    \b
    Try:
      bbtvp proxy --bundle pets.vprompt --upstream https://api.openai.com
      OPENAI_BASE_URL=http://127.0.0.1:8080/v1 python your_application.py
    """  # noqa: D301
    if (bundle is None) == (routes_file is None):
        raise UsageError("give one prompt with --bundle, or a file of routes with --routes")
    if not upstream.startswith(("http://", "https://")):
        raise UsageError(f"--upstream {upstream} must begin with https:// or http://")
    run = _server()
    from bbtvp.deploy.proxy import ProxySettings, proxy_app
    from bbtvp.deploy.routes import Route, read_routes

    if routes_file is not None:
        routes = read_routes(routes_file)
    else:
        routes = [Route.model_validate({"bundle": bundle, "share": share, "sticky": sticky})]
    settings = ProxySettings(upstream, format=format_, off_file=off_file, max_body=max_body << 20)
    app = proxy_app(routes, settings)
    say(f"bbtvp proxy: http://{host}:{port} -> {upstream}; Ctrl-C ends it")
    run(app, host=host, port=port, log_config=None, server_header=False, date_header=False)


def _server() -> Any:
    """Return uvicorn's `run`, with the proxy's own lines on stderr."""
    import logging

    try:
        import prometheus_client  # noqa: F401
        import starlette  # noqa: F401
        import uvicorn
    except ImportError as error:
        raise UsageError(f"bbtvp proxy needs {error.name}: pip install 'bbtvp[proxy]'") from error
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    for chatty in ("httpx", "httpcore", "uvicorn.access"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    return uvicorn.run
