FROM debian:12 AS tools
RUN install tools

FROM app:1
RUN --mount=from=tools,source=/opt/tools,target=tools,rw \
    --mount=source=src,target=/src \
    --mount=type=tmpfs,target=/tmp,size=64m \
    --mount=type=secret,id=token,env=TOKEN \
    --mount=type=cache,id=shared,target=/cache,from=tools,source=/seed,mode=0700 \
    build --token=$TOKEN
ADD https://example.org/data%20file.bin?x=1 /data/
