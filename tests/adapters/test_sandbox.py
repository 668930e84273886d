"""Attacks on the sandbox: each script runs as a real container's job, and tries to get out, to spread, or to lie."""

import json
import os
import socket
import subprocess
import threading
from pathlib import Path

import docker
import pytest

from deai.spec import Resources
from deai_provider import outputs, sandbox
from deai_provider.docker_executor import MAX_LOG_BYTES
from deai_provider.executor import RunState
from deai_provider.outputs import Limits
from tests.adapters.docker_fixtures import Box, box, built_image, docker_executor

__all__ = ["box", "built_image", "docker_executor"]

_CALLS = """
import ctypes, errno, os, socket

libc = ctypes.CDLL(None, use_errno=True)

def call(name, number, *arguments):
    ctypes.set_errno(0)
    result = libc.syscall(ctypes.c_long(number), *[ctypes.c_long(a) if isinstance(a, int) else a for a in arguments])
    print(f"{name}: {errno.errorcode[ctypes.get_errno()] if result == -1 else 'done'}")

def attempt(name, act):
    try:
        act()
        print(f"{name}: done")
    except OSError as error:
        print(f"{name}: {errno.errorcode[error.errno]}")
"""

_KERNEL = (
    _CALLS
    + """
numbers = {
    "mount": (165, b"none", b"/outputs", b"tmpfs", 0, 0),
    "umount2": (166, b"/outputs", 0),
    "pivot_root": (155, b"/outputs", b"/outputs"),
    "chroot": (161, b"/outputs"),
    "unshare user": (272, 0x10000000),
    "unshare mount": (272, 0x00020000),
    "clone user": (56, 0x10000000 | 17, 0, 0, 0, 0),
    "setns": (308, 0, 0),
    "bpf": (321, 0, 0, 0),
    "keyctl": (250, 0, -3, 1),
    "add_key": (248, b"user", b"k", b"v", 1, -2),
    "request_key": (249, b"user", b"k", 0, -2),
    "userfaultfd": (323, 1),
    "io_uring_setup": (425, 8, ctypes.create_string_buffer(256)),
    "io_setup": (206, 8, ctypes.byref(ctypes.c_long(0))),
    "ptrace": (101, 0, 0, 0, 0),
    "process_vm_readv": (310, os.getpid(), 0, 0, 0, 0, 0),
    "pidfd_getfd": (438, 0, 0, 0),
    "perf_event_open": (298, ctypes.create_string_buffer(128), 0, -1, -1, 0),
    "open_by_handle_at": (304, 0, 0, 0),
    "init_module": (175, 0, 0, b""),
    "kexec_load": (246, 0, 0, 0, 0),
    "clock_settime": (227, 0, ctypes.create_string_buffer(16)),
    "reboot": (169, 0, 0, 0, 0),
    "swapon": (167, b"/outputs/x", 0),
    "quotactl": (179, 0, 0, 0, 0),
    "personality": (135, 0x0040000),
    "sync": (162,),
}
for name, (number, *arguments) in numbers.items():
    call(name, number, *arguments)
call("clone3", 435, 0, 0)
attempt("mknod", lambda: os.mknod("/outputs/sda", 0o60666, os.makedev(8, 0)))
for family in ("AF_VSOCK", "AF_PACKET", "AF_ALG", "AF_BLUETOOTH"):
    attempt(family, lambda: socket.socket(getattr(socket, family), socket.SOCK_SEQPACKET if family == "AF_ALG" else socket.SOCK_STREAM))
attempt("AF_NETLINK audit", lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 9))
attempt("raw socket", lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, 1))
"""
)


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="its system calls have x86-64 numbers")
def test_calls_that_lead_out_of_the_box_end_in_eperm(box: Box) -> None:
    results = box.results(_KERNEL)

    # ENOSYS makes the C library fall back to clone, whose flags the profile can see.
    assert results.pop("clone3") == "ENOSYS"
    assert results == dict.fromkeys(results, "EPERM")
    assert len(results) > 30


_PLACES = """
import glob, os
status = dict(line.split(":", 1) for line in open("/proc/self/status").read().splitlines() if ":" in line)
for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp", "Uid", "Gid", "Groups"):
    print(f"{name}: {' '.join(status[name].split())}")

def write(path):
    try:
        with open(path, "w") as file:
            file.write("1")
        return "written"
    except OSError as error:
        return type(error).__name__ if error.errno != 30 else "read-only"

for path in ("/x", "/usr/bin/python3", "/etc/resolv.conf", "/etc/hosts", "/inputs/x", "/inputs/script", "/dev/x", "/sbin/docker-init",
             "/proc/sys/kernel/core_pattern", "/proc/sysrq-trigger", "/sys/kernel/uevent_helper", "/sys/fs/cgroup/x"):
    print(f"{path}: {write(path)}")
try:
    os.setuid(0)
    print("setuid: done")
except OSError as error:
    print(f"setuid: {type(error).__name__}")
print(f"devices: {sorted(os.listdir('/dev'))}")
print(f"sockets: {glob.glob('/run/*') + glob.glob('/var/run/*.sock')}")
print(f"processes: {sorted(int(p) for p in os.listdir('/proc') if p.isdigit())}")
print(f"hostname: {os.uname().nodename}")
print(f"keys: {open('/proc/keys').read()!r}")
"""


def test_a_run_is_nobody_and_may_write_nowhere_but_outputs_and_scratch(box: Box) -> None:
    results = box.results(_PLACES)

    nobody = str(sandbox.NOBODY)
    for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        assert int(results.pop(name), 16) == 0, name
    assert results.pop("NoNewPrivs") == "1"
    assert results.pop("Seccomp") == "2"
    assert set(results.pop("Uid").split()) == {nobody}
    assert set(results.pop("Gid").split()) == {nobody}
    assert results.pop("Groups") in ("", nobody)
    assert results.pop("setuid") == "PermissionError"
    harmless = {
        "core",
        "fd",
        "full",
        "mqueue",
        "null",
        "ptmx",
        "pts",
        "random",
        "shm",
        "tty",
        "urandom",
        "zero",
    }
    devices = set(json.loads(results.pop("devices").replace("'", '"')))
    assert devices <= harmless | {"stderr", "stdin", "stdout"}
    assert results.pop("sockets") == "[]"
    # Only its own: the init, and the script.
    assert len(json.loads(results.pop("processes"))) == 2
    assert results.pop("hostname") == "deai"
    assert results.pop("keys") == "''"
    for path in ("/x", "/usr/bin/python3", "/etc/resolv.conf", "/etc/hosts", "/inputs/x", "/inputs/script"):
        assert results.pop(path) == "read-only", path
    assert set(results.values()) <= {"read-only", "PermissionError", "FileNotFoundError"}, results


_FILL = """
import errno, os

def fill(folder, chunk=1 << 20):
    written, file = 0, os.open(f"{folder}/big", os.O_CREAT | os.O_WRONLY)
    try:
        while True:
            written += os.write(file, b"x" * chunk)
    except OSError as error:
        reason = errno.errorcode[error.errno]
    os.close(file)
    os.unlink(f"{folder}/big")
    return written >> 20, reason

def crowd(folder):
    count = 0
    try:
        while count < 200_000:
            os.close(os.open(f"{folder}/{count}", os.O_CREAT | os.O_WRONLY))
            count += 1
        reason = "none"
    except OSError as error:
        reason = errno.errorcode[error.errno]
    for number in range(count):
        os.unlink(f"{folder}/{number}")
    return count, reason

for folder in ("/tmp", "/dev/shm", "/outputs"):
    mib, reason = fill(folder)
    print(f"bytes {folder}: {mib} {reason}")
for folder in ("/tmp", "/outputs"):
    count, reason = crowd(folder)
    print(f"entries {folder}: {count} {reason}")
file = os.open("/outputs/sparse", os.O_CREAT | os.O_WRONLY)
os.truncate(file, 8 << 30)
print(f"sparse: {os.fstat(file).st_size >> 30}")
"""


def test_a_full_disk_is_the_runs_own_and_full_at_its_limit(box: Box) -> None:
    limits = Resources(memory_mib=192, disk_mib=32)
    job = box.start(_FILL, limits)

    status = box.executor.wait(job, 60)

    log = box.executor.logs(job, 0).decode()
    assert status.exit_code == 0, log
    results = dict(line.split(": ", 1) for line in log.splitlines())
    assert results["bytes /tmp"] == "32 ENOSPC"
    assert results["bytes /dev/shm"] == "96 ENOSPC"
    mib, reason = results["bytes /outputs"].split()
    assert 24 <= int(mib) < 32
    assert reason == "ENOSPC"
    for folder, inodes_per_mib in (("/tmp", 64), ("/outputs", 256)):
        count, reason = results[f"entries {folder}"].split()
        assert int(count) <= inodes_per_mib * 32
        assert reason == "ENOSPC"
    volume = box.executor.outputs(job)
    on_disk = sum(path.stat().st_blocks * 512 for path in volume.parent.glob("*.img"))
    assert on_disk <= (32 + 1) << 20
    collected = outputs.collect(volume, box.folder / "collected", Limits(bytes=32 << 20))
    assert [each.name for each in collected.refused] == ["sparse"]


def test_a_memory_bomb_is_killed_and_reported_as_out_of_memory(box: Box) -> None:
    status, _ = box.run("hoard = []\nwhile True: hoard.append(bytearray(1 << 20))")

    assert (status.exit_code, status.oom_killed) == (137, True)


def test_a_child_killed_for_memory_does_not_make_the_job_fail_but_is_told(box: Box) -> None:
    status, _ = box.run(
        "import os\n"
        "if os.fork() == 0:\n"
        "    hoard = []\n"
        "    while True: hoard.append(bytearray(1 << 20))\n"
        "os.wait()\n"
    )

    assert (status.exit_code, status.oom_killed) == (0, True)


@pytest.mark.parametrize("memory_mib", [128, 2_560])
def test_threads_and_processes_end_at_the_limit(box: Box, memory_mib: int) -> None:
    limits = Resources(memory_mib=memory_mib)
    results = box.results(
        "import _thread, threading, time\n"
        "threading.stack_size(1 << 16)\n"
        "count = 0\n"
        "try:\n"
        "    while count < 20_000:\n"
        "        _thread.start_new_thread(time.sleep, (100,))\n"
        "        count += 1\n"
        "except RuntimeError: pass\n"
        "print(f'threads: {count}', flush=True)\n"
        "import os; os._exit(0)\n",
        limits,
    )

    most = sandbox.max_pids(limits)
    assert most - 16 <= int(results["threads"]) < most <= sandbox.MAX_PIDS


def test_a_fork_bomb_is_stopped_and_nothing_of_it_is_left(box: Box) -> None:
    job = box.start(
        "import os, time\n"
        "print('bomb', flush=True)\n"
        "while True:\n"
        "    try: os.fork()\n"
        "    except OSError: time.sleep(0.01)\n"
    )
    box.executor.wait(job, 2)

    box.executor.stop(job)

    assert box.executor.poll(job).state is RunState.EXITED
    assert _processes(str(box.folder)) == []


def test_children_do_not_outlive_the_run(box: Box) -> None:
    job = box.start(
        "import os, time\n"
        "if os.fork() == 0:\n"
        "    os.setsid()\n"
        "    while True:\n"
        "        open('/outputs/beat', 'a').write('x'); time.sleep(0.01)\n"
        "time.sleep(0.2)\n"
    )

    assert box.executor.wait(job, 30).exit_code == 0

    beat = box.executor.outputs(job) / "beat"
    size = beat.stat().st_size
    threading.Event().wait(0.2)
    assert beat.stat().st_size == size
    box.executor.remove(job)
    assert not beat.exists()


def test_a_command_the_image_does_not_have_is_the_jobs_failure(box: Box) -> None:
    job = box.start("", command=("/no/such/program",))

    status = box.executor.wait(job, 30)

    assert (status.state, status.exit_code) == (RunState.EXITED, 127)
    assert b"/no/such/program" in box.executor.logs(job, 0)


def test_a_flood_of_output_is_cut_on_disk_and_on_the_wire(box: Box) -> None:
    # 10**6 lines and 200 MB, control and escape characters among them.
    job = box.start(
        "import sys\n"
        "line = b'\\x1b[2J\\x07\\x00\\xff' + b'y' * 192 + b'\\n'\n"
        "for _ in range(1_000): sys.stdout.buffer.write(line * 1_000)\n"
    )
    assert box.executor.logs(job, 0) is not None

    status = box.executor.wait(job, 120)

    log = box.executor.logs(job, 0)
    assert status.exit_code == 0
    assert MAX_LOG_BYTES <= len(log) <= MAX_LOG_BYTES + 100
    # The engine keeps text: what is not UTF-8 comes as U+FFFD.
    assert log.startswith(b"\x1b[2J\x07\x00\xef\xbf\xbd" + b"y" * 192 + b"\n")
    assert b"the log was cut here" in log[-100:]
    assert box.executor.logs(job, MAX_LOG_BYTES - 1) == log[MAX_LOG_BYTES - 1 :]
    name = f"deai-{job[2:34]}"
    path = Path(docker.APIClient(version="auto").inspect_container(name)["LogPath"])
    kept = sum(each.stat().st_size for each in path.parent.glob("*.log*"))
    assert kept <= 66 << 20


def test_nothing_is_reached_over_the_network(box: Box) -> None:
    listener = socket.create_server(("0.0.0.0", 0), backlog=16)  # noqa: S104 - to be reachable is the point
    port = listener.getsockname()[1]
    shown = subprocess.run(["hostname", "-I"], capture_output=True, text=True, check=True).stdout.split()
    mine = [address for address in shown if ":" not in address]
    targets = [*mine, "127.0.0.1", "172.17.0.1", "169.254.169.254", "10.255.255.53", "192.0.2.1"]

    results = box.results(
        "import os, socket\n"
        f"for address in {targets!r}:\n"
        "    link = socket.socket(); link.settimeout(1)\n"
        "    try:\n"
        f"        link.connect((address, {port})); print(f'{{address}}: reached')\n"
        "    except OSError as error: print(f'{address}: {type(error).__name__} {error.errno}')\n"
        "    datagram = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
        "    try:\n"
        f"        datagram.sendto(b'x', (address, {port})); print(f'{{address}} udp: sent')\n"
        "    except OSError as error: print(f'{address} udp: {error.errno}')\n"
        "try: print(f'dns: {socket.gethostbyname(\"deb.debian.org\")}')\n"
        "except OSError: print('dns: nothing')\n"
        "print(f'interfaces: {[name for _, name in socket.if_nameindex()]}')\n"
    )

    listener.setblocking(False)
    with listener, pytest.raises(BlockingIOError):
        listener.accept()
    assert results.pop("dns") == "nothing"
    assert results.pop("interfaces") == "['lo']"
    # Its own loopback is all it has: nobody listens there, and datagrams to it go nowhere.
    assert results.pop("127.0.0.1 udp") == "sent"
    assert results.pop("127.0.0.1") == "ConnectionRefusedError 111"
    assert set(results.values()) == {"OSError 101", "101"}


_OUTPUTS = """
import os, socket
os.chdir("/outputs")
os.symlink("/etc/shadow", "shadow")
os.symlink("/etc", "etc")
os.symlink("..", "up")
os.mkfifo("fifo")
socket.socket(socket.AF_UNIX).bind("socket")
open("setuid", "w").write("suid"); os.chmod("setuid", 0o6755)
open("linked", "w").write("x"); os.link("linked", "other")
open("secret", "w").write("mode 0"); os.chmod("secret", 0)
os.mkdir("closed"); open("closed/in", "w").write("in"); os.chmod("closed", 0)
open(b"\\xff\\xfe", "w").write("x")
open("a\\x1b[2Jb", "w").write("x")
os.makedirs("/".join("d" * 40)); open("d/fine", "w").write("fine")
deep = "/outputs/deep"; os.mkdir(deep); os.chdir(deep)
for _ in range(299): os.mkdir("d"); os.chdir("d")
"""


def test_hostile_outputs_are_refused_by_name_and_nothing_of_the_host_is_read(box: Box) -> None:
    job = box.start(_OUTPUTS)
    assert box.executor.wait(job, 30).exit_code == 0, box.executor.logs(job, 0)

    collected = outputs.collect(box.executor.outputs(job), box.folder / "out", Limits(bytes=1 << 20))

    refused = {each.name: each.reason for each in collected.refused}
    assert "symbolic link" in refused.pop("shadow")
    assert "symbolic link" in refused.pop("etc")
    assert "symbolic link" in refused.pop("up")
    assert "FIFO" in refused.pop("fifo")
    assert "socket" in refused.pop("socket")
    assert "hard links" in refused.pop("linked")
    assert "hard links" in refused.pop("other")
    assert "UTF-8" in refused.pop("\\xff\\xfe")
    assert "control" in refused.pop("a\\x1b[2Jb")
    assert all("deeper than" in reason for reason in refused.values())
    assert len(refused) == 2
    taken = {
        str(path.relative_to(box.folder / "out"))
        for path in (box.folder / "out").rglob("*")
        if path.is_file()
    }
    assert taken == {"setuid", "secret", "closed/in", "d/fine"}
    assert (box.folder / "out" / "setuid").stat().st_mode & 0o7777 == 0o644
    assert (box.folder / "out" / "secret").read_text() == "mode 0"


def _processes(mark: str) -> list[str]:
    """The command lines on this machine that name `mark`, ours aside."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if mark in line:
            found.append(line)
    return found
