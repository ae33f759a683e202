"""RealSense: the package, the library beneath it, the camera on the bus and the right to use it."""

from __future__ import annotations

import os
from collections.abc import Iterable

from scene_r1.doctor.check import Check
from scene_r1.doctor.extras import extra
from scene_r1.doctor.probes import Probes, ask_python

INTEL, REALSENSE_PRODUCTS = "8086", ("0a", "0b")
"""USB vendor, and how the product numbers of its depth cameras begin (0ad1 ... 0b5c)."""
WHEELS_ON_ARM = ((3, 10), (3, 12))
RULES = "99-realsense-libusb.rules"
DEVICES_CODE = """
import pyrealsense2 as rs
found = list(rs.context().query_devices())
name = rs.camera_info.name
tell(names=[d.get_info(name) if d.supports(name) else "a camera without a name" for d in found])
"""


def realsense(probes: Probes) -> Iterable[Check]:
    """The package first, the camera only when the package works."""
    if not probes.finds("pyrealsense2"):
        yield Check("pyrealsense2", "missing", "not installed", _install(probes))
        return
    code = (
        "import pyrealsense2 as m; m.context; from importlib.metadata import version; tell(v=version('pyrealsense2'))"
    )
    found = ask_python(probes, code)
    if found.facts is None:
        if "libusb" in found.trouble + found.err:
            mend = f"{probes.sudo}apt-get install libusb-1.0-0"
        else:
            mend = "pip install --force-reinstall pyrealsense2"
        yield Check("pyrealsense2", "broken", f"does not import: {found.trouble}", mend)
        return
    yield Check("pyrealsense2", "ok", str(found.facts["v"]))
    yield _camera(probes)


def video_devices(probes: Probes) -> Iterable[Check]:
    """May this user read the cameras that the kernel shows?"""
    devices = sorted((probes.root / "dev").glob("video*"))
    closed = [device.name for device in devices if not os.access(device, os.R_OK | os.W_OK)]
    if closed:
        mend = "sudo usermod -aG video $USER  # then log in again"
        yield Check("video devices", "warning", f"no permission for {', '.join(closed)}", mend)
    else:
        yield Check("video devices", "ok", f"{len(devices)} in /dev, all open to this user" if devices else "none")


def _camera(probes: Probes) -> Check:
    plugged = _plugged(probes)
    found = ask_python(probes, DEVICES_CODE, timeout_s=8.0)
    rules = f"{probes.sudo}cp config/{RULES} /etc/udev/rules.d/ && {probes.sudo}udevadm control --reload-rules && "
    rules += f"{probes.sudo}udevadm trigger  # in librealsense's source tree; then plug the camera in again"
    if found.facts is None:
        return Check("realsense camera", "broken", f"asking for devices failed: {found.trouble}", rules)
    names = found.facts["names"]
    if names:
        return Check("realsense camera", "ok", f"{len(names)} connected: {', '.join(names)}")
    if plugged:
        return Check("realsense camera", "warning", f"{plugged} on the bus, but none may be opened", rules)
    udev = "" if _has_rules(probes) else f"; no udev rules yet ({RULES}): without them only root may open one"
    return Check("realsense camera", "ok", f"none connected{udev}")


def _plugged(probes: Probes) -> int:
    count = 0
    for vendor in (probes.root / "sys/bus/usb/devices").glob("*/idVendor"):
        try:
            product = (vendor.parent / "idProduct").read_text().strip()
            count += vendor.read_text().strip() == INTEL and product.startswith(REALSENSE_PRODUCTS)
        except OSError:
            continue  # unplugged while we looked
    return count


def _has_rules(probes: Probes) -> bool:
    folders = ("etc/udev/rules.d", "lib/udev/rules.d", "usr/lib/udev/rules.d")
    return any(any((probes.root / folder).glob("*realsense*")) for folder in folders)


def _install(probes: Probes) -> str:
    if probes.architecture == "aarch64" and probes.python[:2] not in WHEELS_ON_ARM:
        return f"python3.12 -m venv .venv && .venv/bin/{extra('realsense')}  # wheels here are for 3.10 and 3.12 only"
    return extra("realsense")
