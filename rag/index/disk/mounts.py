"""Find out whether a folder lies on a network disk, where SQLite's locks may not hold."""

from __future__ import annotations

import logging
from functools import cache
from pathlib import Path

NETWORK = frozenset(
    {
        *("nfs", "nfs3", "nfs4", "cifs", "smb", "smb2", "smb3", "smbfs", "afpfs", "ncpfs"),
        *("webdav", "davfs", "9p", "v9fs", "afs", "openafs", "coda", "ceph", "cephfs", "lustre"),
        *("gpfs", "mmfs", "glusterfs", "beegfs", "pvfs2", "orangefs", "panfs", "gfs", "gfs2"),
        *("ocfs2", "moosefs", "virtiofs", "vboxsf", "vmhgfs", "prl_fs", "drvfs", "fakeowner"),
        *("osxfs", "grpcfuse", "fuse", "macfuse", "osxfuse"),
    }
)
# A file system in user space may reach anywhere; these are known to use local disks.
_LOCAL_FUSE = frozenset(
    {
        *("ntfs", "ntfs-3g", "exfat", "mergerfs", "bindfs", "encfs", "gocryptfs", "cryfs"),
        *("securefs", "veracrypt", "overlayfs", "fuse-overlayfs", "unionfs", "zfs", "zfs-fuse"),
        *("squashfuse", "squashfuse_ll", "snapfuse", "lxcfs", "apfs", "bcachefs", "btrfs"),
    }
)


def network_disk(directory: Path) -> tuple[str, str] | None:
    """Return the kind of file system and its mount point if a folder lies on a network disk.

    Returns None otherwise, and where that cannot be found out.
    """
    import psutil

    try:
        path = directory.resolve()
        if path.anchor.startswith("\\\\"):
            return "share", path.anchor
        around = [
            mount
            for mount in psutil.disk_partitions(all=True)
            if mount.mountpoint and path.is_relative_to(mount.mountpoint)
        ]
    except (OSError, RuntimeError, psutil.Error):
        return None
    # Of several mounts at one place, the last hides the others.
    at = max(
        enumerate(around),
        key=lambda pair: (len(Path(pair[1].mountpoint).parts), pair[0]),
        default=None,
    )
    if at is None:
        return None
    found = at[1]
    remote = _is_network(found.fstype.lower()) or "remote" in found.opts.split(",")
    return (found.fstype, found.mountpoint) if remote else None


@cache
def warn_of_network_disk(directory: Path) -> None:
    """Log a warning, once for each folder, if it lies on a network disk."""
    found = network_disk(directory)
    if found is not None:
        logging.getLogger(__name__).warning(
            "%s: lies on a network disk (%s at %s), where the locks and the shared memory of "
            "SQLite do not reach other machines: let one machine alone use it, or keep the index "
            "on a local disk and copy it by `rag backup`",
            directory,
            *found,
        )


def _is_network(kind: str) -> bool:
    family, _, inner = kind.partition(".")
    if family == "fuse" and inner:
        return inner not in _LOCAL_FUSE
    return family in NETWORK
