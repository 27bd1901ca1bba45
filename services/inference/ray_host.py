"""Starts Ray and deploys the node's models, in a process of its own: ``python -m services.inference.ray_host``.

It tells its parent of progress in JSON lines on its standard output, and ends with everything that it started when
its standard input closes: so Ray never outlives the service, even one that was killed.
"""

from __future__ import annotations

import json
import logging
import os
import secrets
import sys
import threading
from contextlib import suppress
from importlib import import_module
from itertools import chain
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from pydantic import ValidationError

from libs.shared.contracts.base import Principal
from libs.shared.telemetry import get_logger, setup
from services.inference.models import ModelSpec
from services.inference.ray_processes import (
    OWNER_VARIABLE,
    end_leftovers,
    remove_sessions,
    say_stopping,
    short_folder,
)
from services.inference.settings import InferenceSettings, get_settings

MIB = 1024 * 1024
AUTHENTICATION_FILE = "auth_token"
HEALTH_PERIOD_S = 2.0
HEALTH_TIMEOUT_S = 10.0
GRACE_S = 5.0
"""Beyond a drain, for telling and closing."""
LOOK_BACK_S = 10.0
"""Over so long the replicas' queues are averaged before there are more of them, or fewer."""
MORE_AFTER_S = 5.0
FEWER_AFTER_S = 120.0
"""A replica costs a model's loading."""

log = get_logger(__name__)

Orders = SimpleQueue[ModelSpec | None]
"""Models to deploy, and None for the end."""


def main() -> None:
    """Reads the models to deploy as JSON from the first line of standard input, and one to deploy anew from each later
    one."""
    settings = get_settings()
    setup(Principal.INFERENCE, settings)
    specs = [ModelSpec.model_validate(entry) for entry in json.loads(sys.stdin.readline())]
    folder = settings.folder.ray.resolve()
    ended = end_leftovers(folder, spare=frozenset((os.getpid(), os.getppid())))
    if ended:
        log.warning("ray_leftovers_ended", processes=ended)
    remove_sessions(folder)
    say_stopping(folder, False)
    # A thread, since Ray's calls block; it ends the process hard when the parent is gone while they do.
    orders: Orders = SimpleQueue()
    threading.Thread(target=_watch_parent, args=(orders, folder), daemon=True).start()
    # Before Ray is imported: it reads them then, and everything that it starts inherits them.
    os.environ.update(environment(folder))
    write_token(folder / AUTHENTICATION_FILE)
    start_ray(settings, folder)
    _tell(started=True)
    for spec in chain(specs, iter(orders.get, None)):
        _tell(model=spec.name, ok=deploy(settings, spec))
    stop_ray(settings.drain_timeout_s + GRACE_S)
    end_leftovers(folder, spare=frozenset((os.getpid(), os.getppid())))


def environment(folder: Path) -> dict[str, str]:
    """Of Ray and all that it starts: the loopback alone, a token, no reports, no metrics agent, no idle workers.

    Ray binds to the loopback only where clusters of it are switched off, and the variable for that names the systems
    on which they are by default. One port of each replica, Serve's own, still listens everywhere, behind the token.
    """
    return {
        OWNER_VARIABLE: str(folder),
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(folder / AUTHENTICATION_FILE),
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_DISABLE_IMPORT_WARNING": "1",
        "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
        "RAY_enable_metrics_collection": "0",
        "RAY_prestart_worker_first_driver": "0",
        "RAY_enable_worker_prestart": "0",
        "OMP_WAIT_POLICY": "PASSIVE",
    }


def write_token(path: Path) -> None:
    """A new secret for each start: whoever hasn't read it can't talk to this Ray."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    path.unlink(missing_ok=True)
    path.touch(mode=0o600)
    path.write_text(secrets.token_hex(32))


def start_ray(settings: InferenceSettings, folder: Path) -> None:
    """One node, on the loopback, with the smallest object store: no request ever crosses it."""
    import ray
    from ray import serve

    ray.init(
        address="local",
        num_cpus=1,
        include_dashboard=False,
        object_store_memory=settings.ray_object_store_mib * MIB,
        log_to_driver=False,
        logging_level=logging.WARNING,
        namespace="mongars",
        _temp_dir=str(short_folder(folder)),
        _node_ip_address="127.0.0.1",
    )
    serve.start(proxy_location="Disabled")


def deploy(settings: InferenceSettings, spec: ModelSpec) -> bool:
    """Returns when the model answers, or when Serve has given it up. One that runs already is replaced, a part of its
    replicas at a time; each that goes lets its answers end."""
    from ray import serve

    from services.inference.deployment import ReplicaDeployment

    name = _application(spec)
    deployment: Any = serve.deployment(ReplicaDeployment)
    made = deployment.options(
        name=name,
        user_config=_user_config(settings, spec),
        ray_actor_options={"num_cpus": 0, "num_gpus": float(spec.options.get("gpus", 0))},
        health_check_period_s=HEALTH_PERIOD_S,
        health_check_timeout_s=HEALTH_TIMEOUT_S,
        max_surge_percent=_surge_percent(spec),
        graceful_shutdown_timeout_s=settings.longest_generation_s + settings.drain_timeout_s + GRACE_S,
        **_count(spec),
    )
    try:
        serve.run(made.bind(), name=name, route_prefix=None)
    except RuntimeError:
        log.error("model_not_deployed", model=spec.name, exc_info=True)
        serve.delete(name)
        return False
    return True


def stop_ray(timeout_s: float) -> None:
    """Replicas drain first, for at most ``timeout_s``."""
    from ray import serve

    ray: Any = import_module("ray")
    shutdown: Any = serve.shutdown
    # A thread, since the call waits for as long as a replica may take that is replaced.
    ending = threading.Thread(target=shutdown, daemon=True)
    ending.start()
    ending.join(timeout_s)
    ray.shutdown()


def _surge_percent(spec: ModelSpec) -> int:
    """One more replica (any share rounds up to one) is started before one goes, except where it would wait for a GPU
    that the other holds."""
    return 0 if float(spec.options.get("gpus", 0)) else 1


def _count(spec: ModelSpec) -> dict[str, Any]:
    """A fixed number of replicas; with ``max_replicas`` as many up to that as keep requests from waiting."""
    config: Any = import_module("ray.serve.config")
    least = max(1, int(spec.options.get("replicas", 1)))
    most = int(spec.options.get("max_replicas", least))
    if most <= least:
        return {"num_replicas": least}
    policy = config.AutoscalingPolicy(policy_function="services.inference.scaling:by_queue")
    return {
        "autoscaling_config": config.AutoscalingConfig(
            min_replicas=least,
            max_replicas=most,
            metrics_interval_s=HEALTH_PERIOD_S,
            look_back_period_s=LOOK_BACK_S,
            upscale_delay_s=MORE_AFTER_S,
            downscale_delay_s=FEWER_AFTER_S,
            policy=policy,
        )
    }


def _user_config(settings: InferenceSettings, spec: ModelSpec) -> dict[str, Any]:
    return {"settings": settings.model_dump(mode="json"), "spec": spec.model_dump(mode="json")}


def _application(spec: ModelSpec) -> str:
    """Serve allows fewer characters than model names have."""
    return "".join(c if c.isalnum() else "-" for c in spec.label)


def _tell(**event: Any) -> None:
    sys.stdout.write(json.dumps(event) + "\n")
    sys.stdout.flush()


def _watch_parent(orders: Orders, folder: Path) -> None:
    """``stop`` on standard input asks for an orderly end; its closing means that the parent is gone."""
    stopping = False
    for line in sys.stdin:
        if line.strip() == "stop":
            stopping = True
            # At once, for a deployment under way waits for replicas that end their answers.
            say_stopping(folder, True)
            orders.put(None)
        elif not stopping:
            with suppress(ValidationError):
                orders.put(ModelSpec.model_validate_json(line))
    if not stopping:
        end_leftovers(folder, spare=frozenset((os.getpid(),)))
        os._exit(1)


if __name__ == "__main__":
    main()
