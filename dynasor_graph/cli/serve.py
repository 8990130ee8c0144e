"""`dynasor-graph serve`: reasoning programs behind OpenAI's API."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dynasor_graph.cli import options as o
from dynasor_graph.errors import ConfigError, NotInstalled

if TYPE_CHECKING:
    import socket

    from dynasor_graph.engine import Engine
    from dynasor_graph.reward import Reward
    from dynasor_graph.server import Keys, Limits

_SAFETY, _LIMITS = "Safety", "Limits"


def serve(
    model: Annotated[
        str,
        typer.Argument(
            help="A model folder, a hub name, or a bundled model; with --url, the server's."
        ),
    ] = "abacus-7m",
    host: Annotated[
        str, typer.Option(help="Where to listen.", rich_help_panel=_SAFETY)
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="0 takes a free one.", min=0, max=65535)] = 8100,
    name: Annotated[
        str | None,
        typer.Option(
            help="What clients call the model; by default its own name.", show_default=False
        ),
    ] = None,
    keys: Annotated[
        Path | None,
        typer.Option(
            help="File of API keys, a line `name=key` for each. Keys may also stand in "
            "DYNASOR_SERVER_KEYS, separated by commas.",
            rich_help_panel=_SAFETY,
            show_default=False,
        ),
    ] = None,
    insecure: Annotated[
        bool,
        typer.Option(
            "--insecure",
            help="Listen where other machines reach it, without keys.",
            rich_help_panel=_SAFETY,
        ),
    ] = False,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(
            help="A name under which a server on loopback may be asked for, beside localhost; may be "
            "given several times.",
            rich_help_panel=_SAFETY,
        ),
    ] = None,
    log_requests: Annotated[
        bool,
        typer.Option(
            "--log-requests", help="Log path and status of each request, and each program."
        ),
    ] = False,
    log_prompts: Annotated[
        bool,
        typer.Option(
            "--log-prompts",
            help="Also log what is asked and answered. Off, no text of a client is logged.",
            rich_help_panel=_SAFETY,
        ),
    ] = False,
    grace: Annotated[
        float,
        typer.Option(
            help="Seconds that programs have after SIGTERM; then they answer with what they have.",
            min=0,
        ),
    ] = 30.0,
    limit: Annotated[
        list[str] | None,
        typer.Option(
            help="A limit, as key=value; may be given several times. body_bytes, body_seconds, "
            "prompt_tokens, choices, branches, tokens, seconds (of one request); concurrency, rate (of "
            "one key: programs at a time, requests a minute).",
            rich_help_panel=_LIMITS,
        ),
    ] = None,
    scheduler: o.SCHEDULER = "sjf",
    algorithm: o.ALGORITHM = "self_consistency",
    policy: o.POLICY = None,
    url: o.URL = None,
    engine: o.ENGINE = None,
    engine_arg: o.ENGINE_ARG = None,
    reward: Annotated[
        str | None,
        typer.Option(
            help="What judges solutions; with it, algorithms that search are served, too.",
            show_default=False,
        ),
    ] = None,
    tokens: o.TOKENS = None,
    seconds: o.SECONDS = None,
    window: o.WINDOW = None,
    branches: o.BRANCHES = None,
    temperature: o.TEMPERATURE = None,
    max_tokens: o.MAX_TOKENS = None,
    system: o.SYSTEM = None,
    set_: o.SET = None,
    otel: o.OTEL = False,
) -> None:
    """Serve reasoning programs behind OpenAI's API: change a base URL, and answers settle.

    The plain name of the model stands for --algorithm. MODEL@cot, MODEL@self_consistency and so on
    choose another, and MODEL@direct is one branch without more: `/v1/models` lists them.

    For example: `dynasor-graph serve abacus-7m`, and then

    `curl http://127.0.0.1:8100/v1/chat/completions -H 'content-type: application/json' -d '{"model":
    "abacus-7m", "messages": [{"role": "user", "content": "Ada has 7 coins. Ben has 12 more coins than
    Ada. How many coins does Ben have?"}]}'`
    """
    try:
        from dynasor_graph.server import Keys
        from dynasor_graph.server.listen import bind, check_bind
    except ImportError:
        raise NotInstalled("the server (fastapi, uvicorn, prometheus-client)", "server") from None
    from dynasor_graph.runner import configure
    from dynasor_graph.scheduler import order_named

    settings = o.settings_of(
        policy=policy,
        tokens=tokens,
        seconds=seconds,
        window=window,
        temperature=temperature,
        max_tokens=max_tokens,
        seed=None,
        extra=set_,
        branches=branches,
        system=system,
    )
    context = configure(algorithm, **settings)  # mistakes show before the model loads
    o.warn_if_elsewhere(policy, algorithm, context, model)
    order = None if scheduler == "none" else order_named(scheduler)
    limits, in_force = _limits(limit or []), Keys.read(keys)
    check_bind(host, in_force, insecure=insecure)
    o.watch_if(otel)
    judged = reward is not None
    if o.is_judged([algorithm]) and not judged:
        raise ConfigError(f"--algorithm {algorithm} needs a reward: add --reward abacus-7m-reward")
    opened = o.engine_of(engine, model, url, engine_arg, judged=judged)
    judge = o.reward_of(reward, opened) if reward is not None else None
    if log_requests or log_prompts:
        logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s %(message)s")
        logging.getLogger("dynasor_graph.server").setLevel(logging.INFO)
    asyncio.run(
        _serve(
            opened,
            judge,
            in_force,
            {"algorithm": algorithm, "settings": settings, "limits": limits},
            name=name,
            app={
                "scheduler": order,
                "hosts": _hosts(host, allow_host, in_force),
                "log_prompts": log_prompts,
            },
            bound=bind(host, port),
            listen={"grace": grace, "access_log": log_requests},
        )
    )


def _hosts(host: str, more: list[str] | None, keys: Keys) -> list[str] | None:
    """The names under which the server may be asked for; a key protects better than any."""
    from dynasor_graph.server.listen import local_names

    local = None if keys.names else local_names(host)
    return None if local is None else [*local, *(more or [])]


def _limits(given: list[str]) -> Limits:
    from pydantic import ValidationError

    from dynasor_graph.errors import explain
    from dynasor_graph.server import Limits

    values: dict[str, Any] = {}
    for pair in given:
        key, equals, value = pair.partition("=")
        if not equals:
            raise ConfigError(f"--limit takes key=value, got {pair!r}")
        values[key.strip().replace("-", "_")] = value.strip()
    try:
        return Limits.model_validate(values)
    except ValidationError as error:
        raise explain(error, "--limit") from None


async def _serve(
    engine: Engine,
    reward: Reward | None,
    keys: Keys,
    offer: dict[str, Any],
    *,
    name: str | None,
    app: dict[str, Any],
    bound: socket.socket,
    listen: dict[str, Any],
) -> None:
    from dynasor_graph.cli.output import aside, opened
    from dynasor_graph.naming import with_reward
    from dynasor_graph.server import Offer, create_app
    from dynasor_graph.server.listen import Listening

    async with opened(engine, reward):
        with with_reward({"reward": reward}) as named:
            model = name or Path(engine.model).name
            asgi = create_app(
                engine,
                Offer(model=model, reward=named["reward"], **offer),
                keys=keys,
                **app,
            )
            listening = Listening(asgi, bound, **listen)
            for line in _told(listening.url, model, offer["algorithm"], keys):
                aside.print(line, highlight=False, markup=False, soft_wrap=True)
            await listening.run_until_stopped()


def _told(url: str, model: str, algorithm: str, keys: Keys) -> list[str]:
    who = f"keys: {', '.join(keys.names)}" if keys.names else "no keys: whoever reaches it may ask"
    bearer = " -H 'authorization: Bearer KEY'" if keys.names else ""
    body = f'{{"model": "{model}", "messages": [{{"role": "user", "content": "6 * 7?"}}]}}'
    return [
        f"{model} at {url}/v1, by default with {algorithm}; {who}",
        f"curl {url}/v1/chat/completions -H 'content-type: application/json'{bearer} -d '{body}'",
        "Ctrl-C stops it, after the programs that run.",
    ]
