"""ONBUILD: kept by images, run by those that build on them."""

from tests.conformance.model import Case

CASES = [
    Case("triggers of an image", "FROM triggers\nRUN cat /seen > /copied\n", {"given.txt": "given"}),
    Case("triggers are kept as written", 'FROM busybox\nONBUILD RUN   echo  a  >  /f\nONBUILD COPY . /app\nONBUILD ENV a=$b\nonbuild cmd ["x"]\n'),
    Case("triggers of a stage", "FROM busybox AS base\nONBUILD RUN echo a > /a\nONBUILD ENV b=c\nRUN echo own > /own\nFROM base\nRUN echo $b > /b\n"),
    Case("triggers don't run twice", "FROM busybox AS one\nONBUILD RUN echo x >> /count\nFROM one AS two\nFROM two AS three\nRUN cat /count > /seen\n"),
    Case(
        "COPY --from in a trigger",
        "FROM busybox AS other\nRUN echo o > /o\nFROM busybox AS base\nONBUILD COPY --from=other /o /copied\nFROM base\n",
        older="newer",
    ),
    Case("ONBUILD of ONBUILD", "FROM busybox\nONBUILD ONBUILD RUN x\n", fails="dockerfile.onbuild"),
    Case("ONBUILD of FROM", "FROM busybox\nONBUILD FROM scratch\n", fails="dockerfile.onbuild"),
    Case("ONBUILD of nothing", "FROM busybox\nONBUILD\n", fails="dockerfile.syntax"),
    Case("a missing file of a trigger", "FROM triggers\n", {"other": ""}, fails="context.missing"),
    Case(
        "triggers of a stage that is only copied from",
        "FROM busybox AS base\nONBUILD RUN echo a > /a\nRUN echo own > /own\nFROM scratch\nCOPY --from=base / /all/opt/\n",
    ),
]
