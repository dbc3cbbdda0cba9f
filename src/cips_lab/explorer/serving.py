"""From a checkpoint to a local server: what the command does without ``output=``."""

import os

import torch

from cips_lab.errors import UserError
from cips_lab.explorer.drawing import Drawer
from cips_lab.explorer.export import open_world
from cips_lab.explorer.packing import describe
from cips_lab.explorer.page import Served, build_page
from cips_lab.render.synthesis import on_device

EXTRA = "pip install 'cips-lab[app]'"


def serve(source: str, port: int, device: str = "auto", title: str | None = None) -> None:
    """Until Ctrl-C or SIGTERM; says where on standard output, once it can be opened.

    Args:
        source, title: as `open_world`.
        port: of this machine; 0: any free one.
        device: that draws, see `choose_device`.

    Raises:
        UserError: see `open_world`; the extra `app` is not installed, the port is taken, there is no such device.
    """
    try:
        from cips_lab.explorer import server
    except ModuleNotFoundError as error:
        raise UserError(
            f"without output= a server is started, which needs the package {error.name}: {EXTRA}; or give "
            "output=explorer.html for a page that needs none"
        ) from None
    with server.listen(port) as listener:  # before the checkpoint is read: a taken port is told at once
        world = open_world(source, title)
        on_device(world.generator, device)
        drawer = Drawer(world.generator)
        served = Served(f"PyTorch on {_name_of(world.generator.native_coords.device)} of the server", drawer.key)
        page = build_page(describe(world.generator), world.title, world.facts, served)
        host, port = listener.getsockname()
        # Also by whoever reads this through a pipe.
        print(f"open http://{host}:{port} in a browser; Ctrl-C ends it", flush=True)
        server.serve(page, drawer, listener)


def _name_of(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{os.cpu_count()} cores" if device.type == "cpu" else f"the {device.type.upper()} device"
