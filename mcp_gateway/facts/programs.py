"""What is known of programs on a host: data for `facts.shell`.

A program that is not listed is not known: it counts as writing, and policy decides on its name.
"""

from __future__ import annotations

RUNNERS = frozenset(
    """
    . ansible ansible-playbook apt apt-get aptitude ash at awk bash batch builtin bun busybox bwrap caffeinate
    chpst chroot chrt cmake command coproc cpulimit crontab csh dash dbus-run-session deno dnf docker doas
    dpkg ed emacs env eval ex exec expect fakeroot find firejail fish flatpak flock gawk gdb git gmake go
    helm hyperfine ionice java just ksh kubectl less ld.so ld-linux-x86-64.so.2 logsave ltrace lua machinectl make
    man mawk mksh more mosh mount mutt nano nawk neovim nerdctl nice nix nmap node nohup npm npx nsenter nvim
    parallel parsh pdksh perl pg_dump php pip pipx pkexec podman pnpm pod prlimit psql pssh python python2 python3
    rc rdo reptyr rlwrap rpm rsync ruby run-parts runc runcon runuser scp screen script scriptlive sed
    setarch setpriv setsid setuidgid sftp sg sh slsh socat softlimit source split ssh start-stop-daemon
    stdbuf strace su sudo sudoedit systemctl systemd-run tar taskset tclsh tee telnet time timeout tmux toybox
    trap tshark unbuffer unshare unzip uv vi view vim vimdiff wall watch wget wish write xargs xterm yarn
    yash yum zip zsh zypper
    """.split()
)
"""Programs that run others or code they are given, or of which some option does: what would run is not proved."""

PRIVILEGED = frozenset(
    "chroot doas machinectl nsenter pkexec runuser setpriv setuidgid sg su sudo sudoedit systemd-run unshare".split()
)
"""Programs that change who the command runs as."""

NOT_WRITING = frozenset(
    """
    arch base32 base64 basename cat cksum cmp comm cut df diff dirname du echo egrep expand expr factor false fgrep
    fmt fold free getconf getent grep groups head hexdump hostid id join last lastlog locale ls lsblk lscpu
    lsmod lsof lspci lsusb md5sum mpstat nl nproc numfmt od paste pathchk pgrep pidof pinky pr printenv printf ps
    ptx pwd readlink realpath rev seq sha1sum sha224sum sha256sum sha384sum sha512sum stat strings sum tac tail
    test tr true tsort tty uname uptime users vmstat w wc whereis which who whoami
    """.split()
)
"""Programs that change no file whatever their options are."""

SHELL_BUILTINS = frozenset(
    """
    : alias bg bind break builtin caller cd command compgen complete compopt continue declare dirs disown enable eval
    exec exit export fc fg getopts hash help history jobs kill let local logout mapfile popd pushd read readarray
    readonly return set shift shopt source suspend times trap type typeset ulimit umask unalias unset wait
    """.split()
)
"""Builtins that change the shell which reads the rest, or run what they are given; a target without one looks for a
program of that name. `echo`, `printf`, `pwd`, `test`, `true` and `false` are taken as the programs that they also are."""
