"""Opens targets where this module is run, and prints each as JSON, or why it cannot be opened.

Run on a machine of a test's own, it does for many targets what a command does for one.
"""

import base64
import json
import sys
from typing import Any

from probes.errors import SuiteError
from probes.targets import unit


def main(words: list[str]) -> None:
    """Opens each unit.

    Args:
        words: what stands behind ``unit:``.
    """
    sys.stdout.write(json.dumps([_opened(word) for word in words], default=_encoded))


def _opened(word: str) -> dict[str, Any]:
    try:
        return {"stack": unit.load(word).to_plain()}
    except SuiteError as error:
        return {"error": str(error), "status": int(error.exit_status)}


def _encoded(raw: bytes) -> dict[str, str]:
    return {"bytes": base64.b64encode(raw).decode("ascii")}


def decoded(found: dict[str, Any]) -> Any:  # noqa: ANN401 - what JSON holds
    """Undoes what was done to bytes; a hook for ``json.loads``."""
    return base64.b64decode(found["bytes"]) if found.keys() == {"bytes"} else found


if __name__ == "__main__":
    main(sys.argv[1:])
