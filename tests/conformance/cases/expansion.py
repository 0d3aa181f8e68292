"""Variables and quotes in instructions."""

from tests.conformance.model import Case

CASES = [
    Case("an instruction sees the values before it", "FROM scratch\nENV abc=hello\nENV abc=bye def=$abc\nENV ghi=$abc\n"),
    Case(
        "defaults and alternatives",
        "FROM scratch\nENV set=x empty=\nLABEL a=${set:-d} b=${empty:-d} c=${unset:-d} d=${set-d} e=${empty-d} f=${unset-d}"
        " g=${set:+a} h=${empty:+a} i=${unset:+a} j=${set+a} k=${empty+a} l=${unset+a}\n",
        older="20.10 does otherwise",
    ),
    Case("nested defaults", "FROM scratch\nENV one=1\nLABEL a=${no:-${one}} b=${no:-$one-x} c=${no:-${nor:-deep}} d=${no:-a b}\n", fails="dockerfile.syntax"),
    Case("defaults inside defaults", 'FROM scratch\nENV one=1\nLABEL a=${no:-${one}} b=${no:-$one-x} c=${no:-${nor:-deep}} d="${no:-a b}"\n'),
    Case(
        "prefixes and suffixes",
        "FROM scratch\nENV p=/usr/local/lib/libx.so.1.2\nLABEL a=${p#*/} b=${p##*/} c=${p%.*} d=${p%%.*} e=${p#nope} f=${p%?} g=${p##/usr/*/}\n",
        older="patterns in variables are newer",
    ),
    Case(
        "replacing",
        "FROM scratch\nENV p=banana\nLABEL a=${p/a/o} b=${p//a/o} c=${p/an/} d=${p//an/} e=${p/x/y} f=${p//?a/-}\n",
        older="patterns in variables are newer",
    ),
    Case("a required variable that is set", 'FROM scratch\nENV a=1\nLABEL b="${a:?must be there}" c=${a?x}\n'),
    Case("a required variable that isn't", 'FROM scratch\nLABEL b="${a:?must be there}"\n', fails="dockerfile.unset-variable"),
    Case("an unknown modifier", "FROM scratch\nLABEL b=${a:=x}\n", fails="dockerfile.substitution"),
    Case("a brace that never closes", "FROM scratch\nLABEL b=${a\n", fails="dockerfile.substitution"),
    Case("escaped dollars", 'FROM scratch\nENV a=1\nLABEL b=\\$a c=\\${a} d=\'$a\' e="$a" f="\\$a" g=a\\\\$a h=$$a i=$\n'),
    Case("odd names", "FROM scratch\nENV a_1=x A=y\nLABEL b=$a_1 c=$a_1x d=$A-z e=${A}z f=$1 g=$- h=$A.b\n"),
    Case("quotes", 'FROM scratch\nENV a="x  y" b=\'x  y\' c=x\\ y d="it\'s" e=\'say "hi"\' f="a"\'b\'c g="" h=\'\'\n'),
    Case("backslashes in quotes", 'FROM scratch\nENV a="x\\ny" b=\'x\\ny\' c=x\\ny d="\\"" e="\\\\" f=\'\\\\\' g=\\"\n'),
    Case("the old form of ENV", 'FROM scratch\nENV a some  words  here\nENV b "quoted"  word\nENV c $a!\nENV d it\\ s\nLABEL e one two=three\n'),
    Case("equals signs in values", 'FROM scratch\nENV a=b=c d==e\nLABEL f="g=h" "i j"=k\n'),
    Case("names expand too", "FROM scratch\nENV n=name\nENV $n=v ${n}2=w\nLABEL $n=x\n"),
    Case(
        "a variable in COPY",
        'FROM scratch\nENV d=/to s=a.txt\nCOPY $s ${d}/${s%.txt}.copy\nCOPY ["${s}", "$d/json"]\n',
        {"a.txt": "A"},
        older="patterns in variables are newer",
    ),
    Case(
        "variables in ADD WORKDIR USER VOLUME EXPOSE STOPSIGNAL",
        "FROM busybox\nENV d=/dir u=alice v=/vol p=80 s=SIGTERM f=a.txt\nADD $f $d/\nWORKDIR $d/sub\nUSER $u\nVOLUME $v ${v}2\n"
        "EXPOSE $p ${p}81/udp\nSTOPSIGNAL $s\n",
        {"a.txt": "A"},
    ),
    Case("an EXPOSE variable that splits", 'FROM scratch\nENV p="80 443/tcp"\nEXPOSE $p 1000-1002\n'),
    Case("no variables in CMD and ENTRYPOINT", 'FROM busybox\nENV a=1\nCMD echo $a ${a}\nENTRYPOINT ["echo", "$a"]\n'),
    Case(
        "variables in RUN are the shell's",
        'FROM busybox\nENV a=1\nRUN echo $a \'$a\' \\$a ${b:-none} > /out\nRUN ["sh", "-c", "echo $a > /json"]\nRUN ["echo", "$a"]\n',
    ),
    Case("the image's environment expands", 'FROM configured\nUSER root\nLABEL got="$FROM_BASE" path=$PATH\nCOPY a /dir-$EMPTY-x/\n', {"a": "A"}),
    Case("PATH of scratch", "FROM scratch\nENV PATH=/x:$PATH\nLABEL a=$PATH\n"),
    Case("an empty USER", "FROM busybox\nUSER $nothing\n", older="20.10 refuses it"),
    Case("an empty VOLUME", "FROM busybox\nVOLUME $nothing\n", fails="dockerfile.syntax"),
    Case("HEALTHCHECK and SHELL don't expand", 'FROM busybox\nENV a=1\nHEALTHCHECK CMD echo $a\nSHELL ["/bin/sh", "-c", "$a"]\n'),
]
