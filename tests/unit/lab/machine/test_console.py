"""Of a guest's console an error message gets what tells why it ended."""

from __future__ import annotations

import pytest

from wirecrypt.lab.machine.console import last_words

PANIC = """\
SELinux: CONFIG_SECURITY_SELINUX_CHECKREQPROT_VALUE is non-zero.  This is deprecated and will be rejected in a future release.
mmapper_init - find_iomem failed
Failed to initialize ubd device 0 :Couldn't determine size of device's file
userspace - ptrace set fp regs failed, errno = 14
Kernel panic - not syncing: Attempted to kill init! exitcode=0x0000000b
CPU: 0 PID: 1 Comm: init Not tainted 6.1.176 #1
Stack:
 606944ba 607e7fcd 6d843b90 6067bb96
 00000001 607e7fcd 60045fda 0000000b
Call Trace:
 [<606944ba>] ? _printk+0x0/0x94
 [<6002d37a>] show_stack+0x184/0x193
"""
INIT = """\
mount: /mnt/root: unknown filesystem type 'overlay'.
Kernel panic - not syncing: Attempted to kill init! exitcode=0x00002000
CPU: 0 PID: 1 Comm: sh Not tainted 6.1.176 #1
"""
SERVER = """\
Traceback (most recent call last):
  File "server.py", line 1, in <module>
ModuleNotFoundError: No module named 'asyncio'
lab: the guest's program ended with status 1
reboot: System halted
"""


@pytest.mark.parametrize(
    ("console", "words"),
    [
        pytest.param(
            PANIC,
            "userspace - ptrace set fp regs failed, errno = 14; "
            "Kernel panic - not syncing: Attempted to kill init! exitcode=0x0000000b",
            id="a panic: its line and the one before, no stack",
        ),
        pytest.param(
            INIT,
            "mount: /mnt/root: unknown filesystem type 'overlay'.; "
            "Kernel panic - not syncing: Attempted to kill init! exitcode=0x00002000",
            id="init.sh failed: what it said",
        ),
        pytest.param(
            SERVER,
            "ModuleNotFoundError: No module named 'asyncio'; "
            "lab: the guest's program ended with status 1; reboot: System halted",
            id="no panic: the last lines",
        ),
        pytest.param("", "", id="no word"),
    ],
)
def test_the_last_words_are_those_that_matter(console: str, words: str) -> None:
    assert last_words(console) == words
