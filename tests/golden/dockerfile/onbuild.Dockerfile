FROM onbuild:1 AS parent
ONBUILD COPY --from=parent /built /here
ONBUILD RUN use /here
RUN build > /built

FROM parent
SHELL ["/bin/bash", "-eo", "pipefail", "-c"]
RUN last | step
