"""Which parts the host has, and the adapter that acts on them.

Told by what is there, part by part: forks share names and version tags with what they came from.
"""

import sys

from lib_rimo.hosts.base import Host
from lib_rimo.hosts.bystander import Bystander
from lib_rimo.messages import Message


def connect() -> Host:
    """The adapter for the WebUI that this runs in, not installed yet.

    One that only says why, where block weights cannot act.
    """
    if not {"extra_networks_lora", "networks"} <= sys.modules.keys():
        return Bystander(
            Message("this WebUI's Lora extension is switched off, or is none that Rimo knows")
        )
    from lib_rimo.hosts.a1111 import A1111
    from lib_rimo.hosts.forge import Forge
    from lib_rimo.hosts.forge_forks import ForgeClassic, ForgeNeo, ReForge

    # A fork may keep what it no longer uses of the host that it came from: newer ways come first.
    objections = []
    for adapter in (Forge, ForgeNeo, ReForge, ForgeClassic, A1111):
        if not adapter.places[0].is_there():
            continue
        found = [objection for place in adapter.places if (objection := place.objection())]
        found += [
            Message("this WebUI has no {function}", function=f"networks.{name}")
            for name in adapter.networks_needed
            if not hasattr(sys.modules["networks"], name)
        ]
        if not found:
            return adapter()
        objections += found
    unknown = Message("this WebUI merges LoRAs in no way that Rimo knows")
    return Bystander((*objections, unknown)[0])
