# escape=`
FROM scratch
ARG VERSION
ARG FILE=archive.tar.gz
ENV A=1 B=${A:-unset} `
    C="$VERSION ${VERSION:+set}"
ENV STEM=${FILE%%.*} EXT=${FILE#*.} DASHED=${FILE//./-} LITERAL='$A' ESCAPED=`$A
LABEL legacy value with  blanks and $A
WORKDIR /srv/$STEM
COPY $FILE with` blank "./${EXT}/"
USER ${UNSET:-nobody}
