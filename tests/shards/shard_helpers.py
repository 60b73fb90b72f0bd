"""Small image sets, and what a folder holds."""

import shutil
import subprocess
from pathlib import Path

import numpy as np
from PIL import Image

from captioner.shards import ImageItem

RAMP = np.arange(0, 4096, 16, dtype=np.uint16).reshape(16, 16)
"""An image of twelve bits."""


def items_in(root: Path, count: int, *, start: int = 0) -> list[ImageItem]:
    """Make ``count`` small images, JPEG and PNG in turn, and the items that name them."""
    root.mkdir(exist_ok=True)
    items = []
    for i in range(start, start + count):
        source = f"image {i}.{'png' if i % 2 else 'jpeg'}"
        image = Image.new("RGB" if i % 3 else "L", (8 + i % 5, 6), i % 256)
        image.save(root / source)
        items.append(ImageItem(f"set-{i:06d}", root / source, source))
    return items


def contents(folder: Path) -> dict[str, bytes]:
    """The bytes of every file in a folder."""
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def stamps(folder: Path) -> dict[str, tuple[int, int]]:
    """Inode and modification time of a folder and every file in it."""
    found = {path.name: path.stat() for path in [folder, *folder.iterdir()]}
    return {name: (stat.st_ino, stat.st_mtime_ns) for name, stat in found.items()}


def mount(folder: Path, options: str) -> bool:
    """Put a file system in memory in place of a folder; return whether this user may, here."""
    command = [shutil.which("mount") or "false", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def unmount(folder: Path) -> None:
    """Take it away again, also while somebody looks into it."""
    subprocess.run(["umount", "--lazy", str(folder)], check=True)
