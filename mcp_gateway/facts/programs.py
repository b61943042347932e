"""What is known of programs on a host: data for `facts.shell`.

A program that is not listed is not known: it counts as writing, and policy decides on its name.
"""

from __future__ import annotations

RUNNERS = frozenset(
    """
    . ansible ansible-playbook apt apt-get aptitude ash at awk bash batch bc builtin bun bundle bundler busybox
    bwrap c++ caffeinate capsh cargo catchsegv cc choom chpst chroot chrt clang cmake command coproc cpan cpio
    cpulimit crontab csh dash dbus-run-session dc deno dmsetup dnf doas docker dotnet dpkg ed elixir emacs
    emacsclient entr env erl eval ex exec expect fakeroot faketime find firejail fish flatpak flock ftp g++ gawk gcc
    gdb gem ghci git gmake gnuplot go groovy gvim helm hyperfine iex ionice ip irb java jjs jrunscript jshell julia
    just kotlin ksh ksh93 kubectl latex ld-linux-x86-64.so.2 ld.so less lftp login logrotate logsave ltrace lua
    lualatex m4 machinectl make man mawk mksh mongo mongosh more mosh mount mutt mysql nano nawk nc ncat neovim
    nerdctl netcat newgrp nice nix nmap node nohup npm npx nsenter numactl nvim ocaml octave openssl parallel parsh
    pdflatex pdksh perf perl pg_dump php pip pipx pkexec pnpm pod podman posh prlimit proxychains proxychains4 pry
    psql pssh puppet pwsh python python2 python3 r rake raku rbash rc rdo redis-cli reptyr rksh rlogin rlwrap rpm
    rscript rsh rsync ruby run-parts run0 runc runcon runuser rustc rview rvim salt-call scala scp screen script
    scriptlive sed setarch setpriv setsid setuidgid sftp sg sh slsh socat softlimit source split sqlite sqlite3 ssh
    ssh-agent ssh-copy-id ssh-keygen sshpass start-stop-daemon stdbuf strace su sudo sudoedit systemctl systemd-run
    tar taskset tcl tclsh tcpdump tee telnet terraform tex time timeout tmux torsocks toybox trap ts-node tshark tsx
    unbuffer unshare unzip uv vagrant valgrind vi view vim vim.basic vim.nox vim.tiny vimdiff w3m wall watch wget
    wish write xargs xdg-open xdotool xelatex xterm yarn yash yum zip zsh zypper
    """.split()
)
"""Programs that run others or code they are given, or of which some option does: what would run is not proved."""

PRIVILEGED = frozenset(
    "chroot doas machinectl nsenter pkexec runuser setpriv setuidgid sg su sudo sudoedit systemd-run unshare".split()
)
"""Programs that change who the command runs as."""

NOT_WRITING = frozenset(
    """
    arch base32 basename cat cksum cmp comm cut df diff dirname du echo egrep expand expr factor false fgrep fmt
    fold free getconf getent grep groups head hexdump hostid id join last locale ls lsblk lscpu lsmod lsusb md5sum
    mpstat nl nproc numfmt od paste pathchk pgrep pidof pinky pr printenv printf ps pwd readlink realpath rev seq
    sha1sum sha224sum sha256sum sha384sum sha512sum stat strings sum tac tail test tr true tsort tty uname uptime
    users vmstat w wc whereis which who whoami
    """.split()
)
"""Programs that change no file whatever their options are, on any system: `base64 -o`, `ptx -G` and `lsof -D` do on some."""

SYSTEM_FOLDERS = frozenset(("/bin", "/sbin", "/usr/bin", "/usr/sbin"))
"""Where a program of a known name is the known one: `/tmp/cat` is whatever somebody put there."""

EVALUATING = frozenset(("[", "printf", "test"))
"""Builtins that some shell evaluates its arguments in: `test -v 'a[$(id)]'` runs `id` in bash, `printf %d` in ksh."""

SHELL_BUILTINS = frozenset(
    """
    - : alias autoload bg bind break builtin caller cd command compgen complete compopt continue declare dirs disown enable eval
    exec exit export fc fg getopts hash help history jobs kill let local logout mapfile popd pushd read readarray
    readonly return set shift shopt source suspend times trap type typeset ulimit umask unalias unset wait
    emulate float functions integer nameref nocorrect noglob print rehash sched vared whence zcompile zmodload
    """.split()
)
"""Builtins that change the shell which reads the rest, or run what they are given; a target without one looks for a
program of that name. `echo`, `printf`, `pwd`, `test`, `true` and `false` are taken as the programs that they also are."""
