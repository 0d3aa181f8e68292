# syntax=docker/dockerfile:1
ARG BASE=debian:12
FROM ${BASE} AS build
ARG VERSION=1
WORKDIR /src
COPY pom.xml .
RUN --mount=type=cache,target=/root/.m2 mvn dependency:go-offline
COPY . .
RUN --mount=type=cache,target=/root/.m2,sharing=locked \
    --mount=type=secret,id=settings,target=/root/.m2/settings.xml,required \
    # the network is not needed any more
    --network=none \
    mvn -o package -Drevision=$VERSION

FROM debian:12 AS unused
RUN exit 1

FROM busybox
LABEL org.opencontainers.image.version="$VERSION" maintainer='me <me@example.org>'
ENV PORT=8080 JAVA_OPTS="-Xmx1g -Dx=\"y\""
COPY --from=build --chown=1000:1000 /src/target/app.jar /app/
USER 1000
EXPOSE $PORT 9090/udp
VOLUME ["/data"]
HEALTHCHECK --interval=30s --timeout=3s CMD wget -q localhost:$PORT
STOPSIGNAL SIGINT
ENTRYPOINT ["java", "-jar", "/app/app.jar"]
CMD ["--verbose"]
