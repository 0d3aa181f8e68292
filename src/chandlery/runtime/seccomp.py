"""The system calls that a step may make: Docker's default allow list, as a profile and as compiled filter code.

Anything else fails with EPERM, and calls newer than the list with ENOSYS, so that a C library takes its fallback (EPERM from fchmodat2 breaks
chmod in images newer than the filter). crun takes the filter compiled, which saves its compiling it for each step (10 of 18 ms); it is
made once per process, with the libseccomp that crun itself needs. https://docs.docker.com/engine/security/seccomp/
"""

import base64
import ctypes
import errno
import functools
import os
import platform
import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_ALLOWED = """
_llseek _newselect accept accept4 access adjtimex alarm arch_prctl bind brk cachestat capget capset chdir chmod chown chown32 chroot
clock_adjtime clock_adjtime64 clock_getres clock_getres_time64 clock_gettime clock_gettime64 clock_nanosleep clock_nanosleep_time64 close
close_range connect copy_file_range creat dup dup2 dup3 epoll_create epoll_create1 epoll_ctl epoll_pwait epoll_pwait2 epoll_wait eventfd
eventfd2 execve execveat exit exit_group faccessat faccessat2 fadvise64 fadvise64_64 fallocate fchdir fchmod fchmodat fchmodat2 fchown
fchown32 fchownat fcntl fcntl64 fdatasync fgetxattr flistxattr flock fork fremovexattr fsetxattr fstat fstat64 fstatat64 fstatfs fstatfs64
fsync ftruncate ftruncate64 futex futex_requeue futex_time64 futex_wait futex_waitv futex_wake futimesat get_robust_list get_thread_area
getcpu getcwd getdents getdents64 getegid getegid32 geteuid geteuid32 getgid getgid32 getgroups getgroups32 getitimer getpeername getpgid
getpgrp getpid getppid getpriority getrandom getresgid getresgid32 getresuid getresuid32 getrlimit getrusage getsid getsockname getsockopt
gettid gettimeofday getuid getuid32 getxattr inotify_add_watch inotify_init inotify_init1 inotify_rm_watch io_cancel io_destroy io_getevents
io_pgetevents io_pgetevents_time64 io_setup io_submit ioctl ioprio_get ioprio_set ipc kill landlock_add_rule landlock_create_ruleset
landlock_restrict_self lchown lchown32 lgetxattr link linkat listen listxattr llistxattr lremovexattr lseek lsetxattr lstat lstat64 madvise
map_shadow_stack membarrier memfd_create memfd_secret mincore mkdir mkdirat mknod mknodat mlock mlock2 mlockall mmap mmap2 modify_ldt
mprotect mq_getsetattr mq_notify mq_open mq_timedreceive mq_timedreceive_time64 mq_timedsend mq_timedsend_time64 mq_unlink mremap mseal
msgctl msgget msgrcv msgsnd msync munlock munlockall munmap name_to_handle_at nanosleep newfstatat open openat openat2 pause pidfd_open
pidfd_send_signal pipe pipe2 pkey_alloc pkey_free pkey_mprotect poll ppoll ppoll_time64 prctl pread64 preadv preadv2 prlimit64
process_mrelease process_vm_readv process_vm_writev pselect6 pselect6_time64 ptrace pwrite64 pwritev pwritev2 read readahead readdir
readlink readlinkat readv recv recvfrom recvmmsg recvmmsg_time64 recvmsg remap_file_pages removexattr rename renameat renameat2
restart_syscall rmdir rseq rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn rt_sigsuspend rt_sigtimedwait
rt_sigtimedwait_time64 rt_tgsigqueueinfo sched_get_priority_max sched_get_priority_min sched_getaffinity sched_getattr sched_getparam
sched_getscheduler sched_rr_get_interval sched_rr_get_interval_time64 sched_setaffinity sched_setattr sched_setparam sched_setscheduler
sched_yield seccomp select semctl semget semop semtimedop semtimedop_time64 send sendfile sendfile64 sendmmsg sendmsg sendto set_robust_list
set_thread_area set_tid_address setfsgid setfsgid32 setfsuid setfsuid32 setgid setgid32 setgroups setgroups32 setitimer setpgid setpriority
setregid setregid32 setresgid setresgid32 setresuid setresuid32 setreuid setreuid32 setrlimit setsid setsockopt setuid setuid32 setxattr
shmat shmctl shmdt shmget shutdown sigaction sigaltstack signal signalfd signalfd4 sigpending sigprocmask sigreturn sigsuspend socketcall
socketpair splice stat stat64 statfs statfs64 statx symlink symlinkat sync sync_file_range sync_file_range2 syncfs sysinfo tee tgkill time
timer_create timer_delete timer_getoverrun timer_gettime timer_gettime64 timer_settime timer_settime64 timerfd timerfd_create
timerfd_gettime timerfd_gettime64 timerfd_settime timerfd_settime64 times tkill truncate truncate64 ugetrlimit umask uname unlink unlinkat
utime utimensat utimensat_time64 utimes vfork vmsplice wait4 waitid waitpid write writev
"""

# clone may not make namespaces: none of CLONE_NEW* of its flags.
_CLONE_NEW_MASK = 0x7E020000
_PERSONALITIES = (0, 8, 0x20000, 0x20008, 0xFFFFFFFF)
_AF_VSOCK = 40

# Numbers from here on are the same on every architecture and younger than Debian 12's libseccomp.
_FIRST_YOUNG = 451
_YOUNG = {"cachestat": 451, "fchmodat2": 452, "map_shadow_stack": 453, "futex_wake": 454, "futex_wait": 455, "futex_requeue": 456, "mseal": 462}
_X32_BIT = 0x40000000

_ARCHITECTURES = {"x86_64": ("SCMP_ARCH_X86_64", "SCMP_ARCH_X86"), "aarch64": ("SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM")}
_LIBSECCOMP_NAMES = {"SCMP_ARCH_X86_64": b"x86_64", "SCMP_ARCH_X86": b"x86", "SCMP_ARCH_AARCH64": b"aarch64", "SCMP_ARCH_ARM": b"arm"}
_ARM_ONLY = ("arm_fadvise64_64", "arm_sync_file_range", "breakpoint", "cacheflush", "set_tls")
_CMP_NE, _CMP_EQ, _CMP_MASKED_EQ = 1, 4, 7
_OPERATORS = {_CMP_NE: "SCMP_CMP_NE", _CMP_EQ: "SCMP_CMP_EQ", _CMP_MASKED_EQ: "SCMP_CMP_MASKED_EQ"}
_ACT_ALLOW = 0x7FFF0000
_ACT_ERRNO = 0x00050000
_ATTRIBUTE_BAD_ARCHITECTURE = 2

_CONDITIONAL = (
    ("clone", (0, _CMP_MASKED_EQ, _CLONE_NEW_MASK, 0)),
    ("socket", (0, _CMP_NE, _AF_VSOCK, 0)),
    *(("personality", (0, _CMP_EQ, persona, 0)) for persona in _PERSONALITIES),
)


def profile() -> "dict[str, Any]":
    """The list in the OCI runtime specification's form."""
    rules: list[dict[str, Any]] = [{"names": _names(), "action": "SCMP_ACT_ALLOW"}]
    for name, (index, operator, first, second) in _CONDITIONAL:
        comparison = {"index": index, "value": first, "valueTwo": second, "op": _OPERATORS[operator]}
        rules.append({"names": [name], "action": "SCMP_ACT_ALLOW", "args": [comparison]})
    rules.append({"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": errno.ENOSYS})
    found: dict[str, Any] = {"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": errno.EPERM, "syscalls": rules}
    architectures = _ARCHITECTURES.get(platform.machine())
    return found | ({"architectures": list(architectures)} if architectures else {})


@functools.cache
def compiled() -> str | None:
    """The filter's code in base64; None where libseccomp isn't there or the architecture is none of ours: then the profile must do."""
    architectures = _ARCHITECTURES.get(platform.machine())
    if architectures is None:
        return None
    try:
        library = ctypes.CDLL("libseccomp.so.2")
    except OSError:
        return None
    code = _compile(library, [_LIBSECCOMP_NAMES[name] for name in architectures])
    return base64.b64encode(_young_calls() + code).decode() if code else None


class _Comparison(ctypes.Structure):
    _fields_ = (("argument", ctypes.c_uint), ("operator", ctypes.c_int), ("first", ctypes.c_uint64), ("second", ctypes.c_uint64))


def _compile(library: ctypes.CDLL, architectures: list[bytes]) -> bytes:
    library.seccomp_init.restype = ctypes.c_void_p
    context = ctypes.c_void_p(library.seccomp_init(ctypes.c_uint32(_ACT_ERRNO | errno.EPERM)))
    try:
        library.seccomp_attr_set(context, _ATTRIBUTE_BAD_ARCHITECTURE, ctypes.c_uint32(_ACT_ERRNO | errno.ENOSYS))
        for name in architectures:
            library.seccomp_arch_add(context, ctypes.c_uint32(library.seccomp_arch_resolve_name(name)))
        for call in _names():
            _add(library, context, _ACT_ALLOW, call)
        for call, comparison in _CONDITIONAL:
            _add(library, context, _ACT_ALLOW, call, _Comparison(*comparison))
        _add(library, context, _ACT_ERRNO | errno.ENOSYS, "clone3")
        return _exported(library, context)
    finally:
        library.seccomp_release(context)


def _add(library: ctypes.CDLL, context: ctypes.c_void_p, action: int, call: str, comparison: _Comparison | None = None) -> None:
    """Add a rule; a call that this libseccomp or architecture doesn't know stays forbidden."""
    number = library.seccomp_syscall_resolve_name(call.encode())
    if number != -1:
        count = 0 if comparison is None else 1
        library.seccomp_rule_add_array(context, ctypes.c_uint32(action), number, count, None if comparison is None else ctypes.byref(comparison))


def _exported(library: ctypes.CDLL, context: ctypes.c_void_p) -> bytes:
    fd = os.memfd_create("seccomp", os.MFD_CLOEXEC)
    with os.fdopen(fd, "rb") as file:
        if library.seccomp_export_bpf(context, fd) != 0:
            return b""
        file.seek(0)
        return file.read()


def _young_calls() -> bytes:
    """Filter code that decides the young calls and falls through to what follows for all others (seccomp(2), struct sock_filter)."""
    load, at_least, equals, give = 0x20, 0x35, 0x15, 0x06
    allowed = sorted(_YOUNG.values())
    size = len(allowed) + 2
    code = [(load, 0, 0, 0), (at_least, 0, size + 1, _FIRST_YOUNG), (at_least, size, 0, _X32_BIT)]
    code += [(equals, len(allowed) - index, 0, number) for index, number in enumerate(allowed)]
    code += [(give, 0, 0, _ACT_ERRNO | errno.ENOSYS), (give, 0, 0, _ACT_ALLOW)]
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in code)


def _names() -> list[str]:
    return [*_ALLOWED.split(), *(_ARM_ONLY if platform.machine() == "aarch64" else ())]
