"""RUN: users, environment, exit codes, what a step leaves in its layer."""
# ruff: noqa: E501 - a case is a line

from tests.conformance.model import Case, File

CASES = [
    Case(
        "deleting and replacing", "FROM busybox\nRUN rm /etc/group && rm -r /var/deep && mkdir /var/deep && echo n > /var/deep/new && mv /opt/base /opt/moved\n"
    ),
    Case("a directory that becomes a file and back", "FROM busybox\nRUN rm -r /opt && echo f > /opt\nRUN rm /opt && mkdir /opt && echo g > /opt/g\n"),
    Case(
        "modes and owners",
        "FROM busybox\nRUN umask 027; echo a > /a; mkdir /d; chown alice:staff /a; chmod 4755 /a; chmod 1770 /d; chmod 2755 /opt; chown 5:6 /home\n",
    ),
    Case(
        "links",
        "FROM busybox\nRUN echo a > /a; ln /a /b; ln -s a /c; ln -s /nowhere /d; ln /etc/group /etc/group2; mkfifo /pipe\n",
        differs="BuildKit leaves out the base's file, so that its link becomes a copy",
        older="20.10 does otherwise",
    ),
    Case(
        "hard links over layers",
        "FROM busybox\nRUN echo a > /a; ln /a /b\nRUN echo more >> /b\nRUN ln /var/deep/one /three\n",
        differs="BuildKit leaves out the base's file, so that its link becomes a copy",
        older="20.10 does otherwise",
    ),
    Case("nothing", "FROM busybox\nRUN true\nRUN :\n"),
    Case("files that come and go", "FROM busybox\nRUN echo a > /tmp/a; mkdir -p /x/y/z; echo b > /x/y/z/b\nRUN rm -r /x /tmp/a\n"),
    Case("a directory that is moved", "FROM busybox\nRUN mkdir -p /d/e; echo f > /d/e/f\nRUN mv /d /moved; mv /var/deep /var/moved\n"),
    Case("times that are set", "FROM busybox\nRUN touch -t 200102030405 /opt/base; echo x > /new; touch -t 199912312359 /new\n"),
    Case(
        "USER and HOME",
        "FROM busybox\nRUN chmod 777 /tmp\nUSER alice\nRUN id > /tmp/alice; echo $HOME >> /tmp/alice\nUSER 1002:50\nRUN id > /tmp/numbers; echo $HOME >> /tmp/numbers\n"
        "USER bob:staff\nRUN id > /tmp/both\nUSER 4242\nRUN id > /tmp/unknown; echo $HOME >> /tmp/unknown\n",
        older="20.10 does otherwise",
    ),
    Case("an unknown user", "FROM busybox\nUSER nobody-here\nRUN true\n", fails="step.unknown-user"),
    Case("a step that fails", "FROM busybox\nRUN echo a > /f; exit 3\n", fails="step.failed"),
    Case("exec form", 'FROM busybox\nRUN ["touch", "/a b", "/c;d"]\nRUN ["/bin/sh", "-c", "echo $0 $1 > /args", "zero", "one"]\n'),
    Case("exec form without its program", 'FROM busybox\nRUN ["not-there"]\n', fails="step.failed"),
    Case(
        "the environment of a step",
        'FROM busybox\nENV A=1 B="two words" C=\nARG D=4\nRUN env | grep -v -e HOSTNAME -e HOME -e OTEL -e TRACEPARENT | sort > /env\n',
    ),
    Case(
        "what is mounted leaves nothing", "FROM busybox\nRUN ls /proc /sys /dev > /dev/null; cat /etc/resolv.conf /etc/hosts > /dev/null; ls -d /proc/1 > /f\n"
    ),
    Case(
        "from scratch with a binary",
        'FROM busybox AS tools\nFROM scratch\nCOPY --from=tools /bin/busybox /bin/sh\nRUN ["/bin/sh", "-c", "echo a > /f"]\n',
        differs="BuildKit leaves the runtime's mount points in the layer",
        older="20.10 does otherwise",
    ),
    Case("--network=none", "FROM busybox\nRUN --network=none ls /sys/class/net > /nets\n", older="20.10 does otherwise"),
    Case("writing to /etc/hosts", "FROM busybox\nRUN touch /etc/other; ls /etc | sort > /list\n"),
    Case("standard input is empty", "FROM busybox\nRUN cat > /f; wc -c < /f > /count\n"),
    Case("a long command over lines", "FROM busybox\nRUN echo one   two \\\n    && echo 'three' \\\n    # a comment\n    && echo four > /f\n"),
    Case("processes that go on", "FROM busybox\nRUN (sleep 100 &) ; echo a > /f\n"),
    Case("opaque directories", "FROM busybox\nRUN mkdir /d; echo a > /d/a; echo b > /d/b\nRUN rm -r /d; mkdir /d; echo c > /d/c\nRUN ls /d > /list\n"),
    Case("a copied program runs", "FROM busybox\nCOPY run.sh /usr/local/bin/\nRUN run.sh > /out\n", {"run.sh": File(b"#!/bin/sh\necho ran\n", mode=0o755)}),
    Case(
        "--shm-size and --ulimit",
        "FROM busybox\nRUN ulimit -n > /n; ulimit -c > /c; df -k /dev/shm 2>/dev/null | tail -1 | tr -s ' ' | cut -d' ' -f2 > /shm || true\n",
        args=("--ulimit", "nofile=1024:2048", "--ulimit", "core=0", "--shm-size", "32m"),
        older="20.10 does otherwise",
    ),
]
