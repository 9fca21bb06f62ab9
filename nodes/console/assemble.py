"""From a topology to nodes: each function builds one, with real sockets, the real clock and real models."""

import os
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from structlog.typing import FilteringBoundLogger

from draftwire.codecs.control import StepReport
from draftwire.codecs.frame import PROTOCOL_VERSION
from draftwire.codecs.messages import Hello
from draftwire.codecs.tables import TableSet, by_tag
from draftwire.nodes.device.checks import check_pins
from draftwire.nodes.models.base import PackingModel, UnsupportedModelError
from draftwire.nodes.models.catalogue import LoadOptions, check_name, load_draft, load_target, load_tokenizer
from draftwire.nodes.models.free_memory import free_bytes
from draftwire.nodes.models.pacing import Compute, NativeCompute, PacedCompute, compute_for
from draftwire.nodes.models.tables import MAX_HERE, find_tables, tables_here
from draftwire.nodes.models.vocabulary import fitted
from draftwire.nodes.speculation.noise import NOISE_VERSION
from draftwire.runtime.clock import LoopClock
from draftwire.runtime.config import ChannelSettings, ControllerSettings, ModelSettings, Profile, Topology
from draftwire.runtime.errors import ConfigurationError
from draftwire.runtime.security import Service
from draftwire.runtime.session.request import Timing
from draftwire.runtime.transport import Transport

if TYPE_CHECKING:
    from draftwire.nodes.channel.capture import TakesFrames
    from draftwire.nodes.channel.node import ChannelNode
    from draftwire.nodes.channel.playing import OwnSchedules
    from draftwire.nodes.channel.traffic import Tell
    from draftwire.nodes.controller.node import ControllerNode
    from draftwire.nodes.device.node import DeviceNode
    from draftwire.nodes.models.tokenizer import Tokenizer
    from draftwire.nodes.target.node import TargetNode

Progress = Callable[[str], None]


def build_device(
    topology: Topology, *, transport: Transport, logger: FilteringBoundLogger, progress: Progress
) -> "tuple[DeviceNode, Tokenizer, Compute]":
    """The device, its tokenizer, and where it computes. Raises UnsupportedModelError for its model."""
    alone = replace(topology, device=replace(topology.device, count=1))
    built, tokenizer = build_devices(alone, transport=transport, logger=logger, progress=progress)
    node, compute = built[0]
    return node, tokenizer, compute


def build_devices(
    topology: Topology, *, transport: Transport, logger: FilteringBoundLogger, progress: Progress
) -> "tuple[list[tuple[DeviceNode, Compute]], Tokenizer]":
    """All devices of [device], each with where it computes, and the tokenizer of all.

    They share one draft model, and the one thread that really computes; where steps are paced, each waits by
    itself for the rest of its own. Raises UnsupportedModelError for the model.
    """
    from draftwire.nodes.device.node import DeviceNode

    settings = topology.pair.draft
    check_model(settings.model, key="pair.draft")
    tokenizer = load_tokenizer(settings.model, end="draft", revision=settings.revision, progress=progress)
    _check_fixed(topology.controller, tokenizer.vocab_size)
    tables = find_tables(
        topology.pair.tables,
        vocab_size=tokenizer.vocab_size,
        fingerprint=tokenizer.fingerprint,
        skipped=lambda path, why: logger.warning("device.tables_skipped", path=str(path), detail=why),
    )
    limit_threads(topology.device.threads, settings.model)
    model = fitted(load_draft(settings.model, _options(settings), progress=progress), tokenizer.vocab_size)
    hello, tagged, thread = _hello(tokenizer, tables), by_tag(tables), NativeCompute()

    def built(name: str) -> tuple[DeviceNode, Compute]:
        paced = topology.compute.profile is Profile.PAPER
        compute = PacedCompute(LoopClock(), inner=thread) if paced else thread
        node = DeviceNode(
            name=name,
            address=topology.device_connects_to,
            service=Service.TARGET if topology.channel is None else Service.CHANNEL,
            transport=transport,
            clock=LoopClock(),
            compute=compute,
            model=model,
            hello=hello,
            tables=tagged,
            logger=logger,
            numbers=random.SystemRandom(),
            timing=Timing(reach_s=topology.device.reach_s, absent_s=topology.device.absent_s),
            draft=settings.model,
            pad_to=topology.security.pad_to,
        )
        return node, compute

    return [built(name) for name in topology.device.names], tokenizer


def build_target(
    topology: Topology,
    *,
    transport: Transport,
    logger: FilteringBoundLogger,
    progress: Progress,
    on_step: Callable[[StepReport], None] | None = None,
    name: str = "target",
) -> "TargetNode":
    """The BS; `name` is how the controller knows it. Raises UnsupportedModelError for its model."""
    from draftwire.nodes.target.node import TargetNode

    settings = topology.pair.target
    check_model(settings.model, key="pair.target")
    tokenizer = load_tokenizer(settings.model, end="target", revision=settings.revision, progress=progress)
    limit_threads(topology.target.threads, settings.model)
    _check_fixed(topology.controller, tokenizer.vocab_size)
    tables = find_tables(
        topology.pair.tables,
        vocab_size=tokenizer.vocab_size,
        fingerprint=tokenizer.fingerprint,
        most=MAX_HERE,
        skipped=lambda path, why: logger.warning("target.tables_skipped", path=str(path), detail=why),
    )
    model = load_target(settings.model, _options(settings), progress=progress)
    free = free_bytes(model) if isinstance(model, PackingModel) else None
    return TargetNode(
        topology.target,
        topology.controller,
        transport=transport,
        clock=LoopClock(),
        compute=compute_for(topology.compute.profile, LoopClock()),
        model=fitted(model, tokenizer.vocab_size),
        tokenizer=tokenizer,
        hello=_hello(tokenizer),
        boot=random.SystemRandom().getrandbits(32),
        wall_s=time.time,
        logger=logger,
        on_step=on_step,
        name=name,
        tables=by_tag(tables),
        kv_budget=None if free is None else free // 2,
        pad_to=topology.security.pad_to,
    )


def build_channel(
    topology: Topology,
    *,
    transport: Transport,
    logger: FilteringBoundLogger,
    capture: "Path | TakesFrames | None" = None,
    tell: "Tell | None" = None,
) -> "ChannelNode":
    """The emulated link; `capture` gets every frame, a file or who takes them; `tell` is told of traffic.

    Raises ConfigurationError for a topology without one, and for a file that can't be written.
    """
    from draftwire.nodes.channel.capture import Capture
    from draftwire.nodes.channel.node import ChannelNode
    from draftwire.nodes.channel.places import MAX_CONNECTIONS

    remedy = "add a section [channel], or let devices connect to the target without one"
    settings = topology.need_channel(remedy=remedy)
    try:
        captured = Capture(capture, logger=logger) if isinstance(capture, Path) else capture
    except OSError as error:
        raise ConfigurationError(
            f"{str(capture)!r}: {error.strerror}", key="--capture", remedy="name a file that can be written"
        ) from None
    return ChannelNode(
        transport=transport,
        clock=LoopClock(),
        address=settings.binds,
        target_address=topology.target.address,
        uplink=settings.uplink_schedule,
        downlink=settings.downlink_schedule,
        seed=settings.seed,
        max_devices=settings.max_devices,
        wall_s=time.time,
        logger=logger,
        control_address=settings.control,
        capture=captured,
        own_links=own_links(settings),
        lateness_budget_s=settings.lateness_ms / 1e3,
        # Each device of one key may leave a connection behind when it makes a new one.
        connections_a_key=max(MAX_CONNECTIONS, 2 * topology.device.count),
        cell=settings.cell,
        tell=tell,
    )


def own_links(settings: ChannelSettings) -> "OwnSchedules":
    """The links of [channel.devices], as ChannelNode takes them."""
    from draftwire.nodes.channel.playing import Direction

    meet = {name: settings.for_device(name) for name in settings.devices}
    return {
        name: {Direction.UPLINK: own.uplink_schedule, Direction.DOWNLINK: own.downlink_schedule}
        for name, own in meet.items()
    }


def build_controller(
    topology: Topology, *, transport: Transport, logger: FilteringBoundLogger
) -> "ControllerNode":
    """The controller and the policy that the topology names. Raises ConfigurationError if it can't be had.

    Tables that its machine lacks are no reason: they only say how large rows will be.
    """
    from draftwire.nodes.controller.choice import make_policy
    from draftwire.nodes.controller.node import ControllerNode
    from draftwire.nodes.controller.policy import TablesAware

    settings = topology.controller
    policy = make_policy(settings.policy)
    tables: tuple[TableSet, ...] = ()
    if isinstance(policy, TablesAware):
        tables = tables_here(
            topology.pair.tables,
            skipped=lambda path, why: logger.warning("controller.tables_skipped", path=str(path), detail=why),
        )
    return ControllerNode(
        transport=transport,
        address=settings.binds,
        policy=policy,
        wall_s=time.time,
        logger=logger,
        table_sets=by_tag(tables),
    )


def check_model(name: str, *, key: str) -> None:
    """Raise UnsupportedModelError, naming `key`, for a name that no model can have; loads nothing."""
    try:
        check_name(name)
    except UnsupportedModelError as error:
        raise UnsupportedModelError(f"{key}: {error}") from None


def _check_fixed(settings: ControllerSettings, vocab_size: int) -> None:
    check_pins(settings.k, settings.gamma, vocab_size, key="controller.k")


def _hello(tokenizer: "Tokenizer", tables: Sequence[TableSet] = ()) -> Hello:
    return Hello(
        protocol_version=PROTOCOL_VERSION,
        noise_version=NOISE_VERSION,
        vocab_size=tokenizer.vocab_size,
        fingerprint=tokenizer.fingerprint,
        tables=tuple(one.hash for one in tables),
    )


def _options(settings: ModelSettings) -> LoadOptions:
    return LoadOptions(
        dtype=settings.dtype or "auto",
        device=settings.device or "cpu",
        device_map=settings.device_map,
        revision=settings.revision,
    )


def limit_threads(threads: int | None, model: str) -> None:
    """Two processes whose threads together exceed the cores slow each other down many times over."""
    if threads is None or model.startswith("synthetic:"):
        return
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # read when torch loads: waiting threads yield
    import torch

    torch.set_num_threads(threads)


__all__ = [
    "build_channel",
    "build_controller",
    "build_device",
    "build_devices",
    "build_target",
    "check_model",
    "limit_threads",
    "own_links",
]
