FROM busybox
ENV NAME=world
RUN <<EOF
set -e
echo hello $NAME
EOF
RUN <<-'SCRIPT'
	#!/usr/bin/env python3
	print("hi")
	SCRIPT
RUN cat <<A > /a && cat <<B > /b
one
A
two
B
COPY <<EOF <<"RAW" /etc/demo/
hello ${NAME:-nobody}
EOF
hello ${NAME}
RAW
ADD --chmod=755 <<EOF /usr/local/bin/run
#!/bin/sh
exec "$@"
EOF
