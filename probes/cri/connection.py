"""The way to CRI's client: gRPC is imported when a runtime is asked, and never before."""

import importlib
from typing import TYPE_CHECKING

from probes.cri import endpoint
from probes.errors import BadInputError

if TYPE_CHECKING:  # what it imports need not be installed
    from probes.cri.client import Client

_CLIENT = "probes.cri.client"


def connect(said: str) -> "Client":
    """Connects to a runtime; whoever asks closes the connection.

    Args:
        said: the value of ``--runtime-endpoint``; "" for the usual one.

    Raises:
        BadInputError: gRPC is not installed, or nobody answers.
        InstrumentError: the runtime does not answer in time.
    """
    place = endpoint.find(said)
    try:
        client = importlib.import_module(_CLIENT)
    except ImportError as error:
        raise BadInputError(
            "to ask a runtime by CRI takes gRPC and CRI's messages, which are not installed"
            f" ({error}): pip install container-runtime-interface-api grpcio"
        ) from error
    made: Client = client.Client(place)
    return made
