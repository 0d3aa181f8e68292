"""Heredocs of RUN, COPY and ADD."""

from tests.conformance.model import Case

_NEWER = "heredocs are newer"

CASES = [
    Case("RUN of a script", "FROM busybox\nARG a=1\nRUN <<EOF\necho $a > /f\ncat > /g <<END\n  x\nEND\necho two >> /f\nEOF\n", older=_NEWER),
    Case("RUN of a script that stops", "FROM busybox\nRUN <<EOF\nset -e\necho a > /f\nfalse\necho b > /g\nEOF\n", fails="step.failed", older=_NEWER),
    Case(
        "RUN with a shebang",
        "FROM busybox\nRUN <<EOF\n#!/bin/cat\nthis is shown\nEOF\nRUN <<'EOF'\n#!/bin/sh\necho $0 > /f\necho \"$HOME\" >> /f\nEOF\n",
        older=_NEWER,
    ),
    Case("RUN with a program", "FROM busybox\nRUN <<EOF cat > /f\na $b\nEOF\nRUN cat <<ONE <<TWO > /g\n1\nONE\n2\nTWO\n", older=_NEWER),
    Case("RUN with leading tabs", 'FROM busybox\nRUN <<-EOF\n\techo a > /f\n\t\techo b >> /f\n\tEOF\nRUN cat <<-"EOF" > /g\n\ttab $x\n\tEOF\n', older=_NEWER),
    Case("RUN quotes its word", 'FROM busybox\nENV a=1\nRUN cat <<"EOF" > /f\n$a\nEOF\nRUN cat <<EOF > /g\n$a \\$a\nEOF\n', older=_NEWER),
    Case(
        "COPY of a heredoc",
        "FROM scratch\nENV a=1\nCOPY <<EOF /f\nexpands $a ${b:-d} \\$a 'q' \"r\"\nEOF\nCOPY <<\"EOF\" /g\nkept $a \\$a\nEOF\nCOPY <<'EOF' /h\nkept $a\nEOF\n",
        older=_NEWER,
    ),
    Case(
        "COPY of several heredocs", "FROM scratch\nCOPY <<one.txt <<two.txt /dir/\n1\none.txt\n2\ntwo.txt\nCOPY <<a x /dir2/\nA\na\n", {"x": "X"}, older=_NEWER
    ),
    Case("COPY of an empty heredoc", "FROM scratch\nCOPY <<EOF /f\nEOF\nCOPY <<-EOF /g\n\ta\n\t\tb\n\tEOF\n", older=_NEWER),
    Case(
        "COPY of a heredoc with an owner and a mode",
        "FROM busybox\nCOPY --chown=alice:staff --chmod=750 <<EOF /new/f\nx\nEOF\nADD --chmod=600 <<EOF /g\ny\nEOF\n",
        older=_NEWER,
    ),
    Case(
        "COPY of a heredoc into a directory", "FROM busybox\nWORKDIR /w\nCOPY <<EOF .\nx\nEOF\nCOPY <<EOF sub/\ny\nEOF\nCOPY <<EOF /opt\nz\nEOF\n", older=_NEWER
    ),
    Case("a heredoc that never ends", "FROM scratch\nCOPY <<EOF /f\nabc\n", fails="dockerfile.heredoc", older=_NEWER),
    Case("a heredoc in ONBUILD", "FROM busybox AS base\nONBUILD COPY a /b\nFROM base\nRUN <<EOF\ncat /b > /c\nEOF\n", {"a": "A"}, older=_NEWER),
    Case("a heredoc with carriage returns", "FROM scratch\r\nCOPY <<EOF /f\r\none\r\ntwo\r\nEOF\r\n", older=_NEWER),
    Case(
        "a heredoc keeps comments and continuations",
        "FROM busybox\nCOPY <<EOF /f\n# no comment\na \\\nb\n\nEOF\nRUN <<EOF\n# a comment\necho a \\\n  b > /g\nEOF\n",
        older=_NEWER,
    ),
]
