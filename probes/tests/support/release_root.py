"""A release's root for a daemon that needs this machine's own namespaces, as auditd does.

The root in the cache is never written to, so what the daemon writes goes to memory, by an overlay
in a mount namespace of its own.
"""

from pathlib import Path

_LAYERED = """\
mount -t tmpfs none {layers}
mkdir {layers}/upper {layers}/work {layers}/root
mount -t overlay none -o lowerdir={root},upperdir={layers}/upper,workdir={layers}/work {layers}/root
root={layers}/root
for place in proc dev sys; do mount --rbind "/$place" "$root/$place"; done
"""


def layered(root: Path, layers: Path) -> str:
    """Lines for sh(1) after which ``$root`` is the root, and can be written to.

    They are for a mount namespace of their own.

    Args:
        root: of ``probes.releases.roots``.
        layers: a folder that does not exist yet; it stays empty outside.
    """
    layers.mkdir()
    return _LAYERED.format(root=root, layers=layers)
