"""`--ca-certs` where it counts: programs of a real Debian speak TLS with a server whose authority only the build knows, and images show nothing of it."""

import datetime
import functools
import http.server
import json
import ssl
import subprocess
import threading

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from tests.kernel import machine_images

pytestmark = pytest.mark.timeout(400)
TLS_BASE = "chandlery-test-tls"
TLS_PACKAGES = "python3-requests,curl,openssl,git,nodejs,default-jdk-headless,ca-certificates"
PLAIN_BASE = "chandlery-test-apt"
HOST = "tls.test"  # not localhost, which some clients look for at ::1
NAMES = x509.SubjectAlternativeName([x509.DNSName(HOST)])
PEM = serialization.Encoding.PEM

JAVA = """
import java.net.URL;
import javax.net.ssl.HttpsURLConnection;
public class Get {
    public static void main(String[] argv) throws Exception {
        if (((HttpsURLConnection) new URL(argv[0]).openConnection()).getResponseCode() != 200) System.exit(2);
    }
}
"""
NODE = """
require("https").get(process.argv[2], answer => process.exit(answer.statusCode == 200 ? 0 : 1)).on("error", () => process.exit(1));
"""
CLIENTS = {
    "curl": "curl -fsS {url}/hello",
    "openssl": "openssl s_client -verify_return_error -connect {host} </dev/null",
    "urllib": "python3 -c 'import urllib.request; urllib.request.urlopen(\"{url}/hello\")'",
    "requests": "python3 -c 'import requests; requests.get(\"{url}/hello\").raise_for_status()'",
    "node": "node /c/get.js {url}/hello",
    "java": "java /c/Get.java {url}/hello",
    "git": "git ls-remote {url}/repo.git",
}


class Authority:
    def __init__(self, name: str) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.certificate = self.sign(self.name, self.key.public_key(), x509.BasicConstraints(ca=True, path_length=None))

    def sign(self, subject: x509.Name, key: ec.EllipticCurvePublicKey, *extensions: x509.ExtensionType) -> x509.Certificate:
        builder = x509.CertificateBuilder().subject_name(subject).issuer_name(self.name).public_key(key).serial_number(x509.random_serial_number())
        now = datetime.datetime.now(datetime.UTC)
        builder = builder.not_valid_before(now - datetime.timedelta(days=1)).not_valid_after(now + datetime.timedelta(days=90))
        for extension in extensions:
            builder = builder.add_extension(extension, critical=isinstance(extension, x509.BasicConstraints))
        return builder.sign(self.key, hashes.SHA256())

    @property
    def pem(self) -> str:
        return self.certificate.public_bytes(PEM).decode()


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    """The authority's file; its server listens on this machine's loopback, at the second value."""
    directory = tmp_path_factory.mktemp("tls")
    made = Authority("Chandlery's test authority")
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = made.sign(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, HOST)]), key.public_key(), NAMES)
    pem = key.private_bytes(PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()) + certificate.public_bytes(PEM)
    (directory / "server.pem").write_bytes(pem)
    (directory / "ca.pem").write_text(made.pem)
    (directory / "www").mkdir()
    (directory / "www/hello").write_text("hello\n")
    subprocess.run(["git", "init", "-q", "--bare", str(directory / "www/repo.git")], check=True, capture_output=True)
    subprocess.run(["git", "-C", str(directory / "www/repo.git"), "update-server-info"], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(directory / "server.pem")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(directory / "www")))
    # the handshake is the connection's own thread's, which a client that goes away in the middle doesn't hold up
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    server.handle_error = lambda *_: None
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield directory / "ca.pem", f"{HOST}:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="module")
def store():
    """The store of the kept bases, ours alone; what tests built is gone afterwards."""
    machine_images.ensure(TLS_BASE, TLS_PACKAGES)
    with machine_images.locked("store-1"):
        yield
        machine_images.run("rmi", "--force", *(f"chandlery-test-built:{number}" for number in range(_Built.count)))
        machine_images.run("prune", "--force", "--all")


class _Built:
    count = 0

    def __init__(self, directory, dockerfile: str, *arguments: str, **files: str) -> None:
        self.name = f"chandlery-test-built:{_Built.count}"
        context = directory / f"c{_Built.count}"
        _Built.count += 1
        context.mkdir()
        for name, text in {"Dockerfile": dockerfile, **files}.items():
            (context / name).write_text(text)
        done = machine_images.run(
            "build", "--no-cache", "--network=host", f"--add-host={HOST}:127.0.0.1", "--progress=plain", "-t", self.name, *arguments, str(context)
        )
        self.status, self.log = done.returncode, done.stderr
        assert done.returncode == 0, done.stderr[-3000:]

    def said(self) -> set[str]:
        """The words that steps printed as lines of their own."""
        return {line.split(None, 2)[2] for line in self.log.splitlines() if line.startswith("#") and len(line.split(None, 2)) == 3}

    def layers(self) -> list[str]:
        return json.loads(machine_images.run("inspect", self.name).stdout)[0]["RootFS"]["Layers"]

    def run(self, script: str) -> str:
        done = machine_images.run("run", "--network=none", self.name, "sh", "-c", script)
        assert done.returncode == 0, done.stderr
        return done.stdout


def clients_file(host: str) -> str:
    tries = "".join(f"if {command} >/dev/null 2>&1; then echo {name}=yes; else echo {name}=no; fi\n" for name, command in CLIENTS.items())
    return tries.format(url=f"https://{host}", host=host)


TRY_ALL = f"FROM {TLS_BASE}\nRUN --mount=target=/c --mount=type=tmpfs,target=/tmp sh /c/clients.sh\n"


def test_every_client_trusts_the_authority_and_only_by_the_flag(authority, store, tmp_path):
    file, host = authority
    files = {"clients.sh": clients_file(host), "Get.java": JAVA, "get.js": NODE}
    told = _Built(tmp_path, TRY_ALL, "--ca-certs", str(file), **files)
    untold = _Built(tmp_path, TRY_ALL, **files)
    assert {f"{name}=yes" for name in CLIENTS} <= told.said()
    assert {f"{name}=no" for name in CLIENTS} <= untold.said()


@pytest.mark.parametrize(
    "script",
    [
        "mkdir /d && echo x >/d/x && touch -d @1 /d/x /d /",
        "echo x >/etc/ssl/certs/x && touch -d @1 /etc/ssl/certs/x /etc/ssl/certs",
        "echo x >/usr/local/share/ca-certificates/x && touch -d @1 /usr/local/share/ca-certificates/x /usr/local/share/ca-certificates",
        "echo '# mine' >>/etc/ssl/certs/java/x && touch -d @1 /etc/ssl/certs/java/x /etc/ssl/certs/java",
        "chmod 700 /etc/ssl",
        "cat /etc/ssl/certs/ca-certificates.crt >/dev/null",
    ],
)
def test_the_layer_is_the_same_byte_by_byte(authority, store, tmp_path, script):
    file, _ = authority
    dockerfile = f"FROM {TLS_BASE}\nRUN {script}\n"
    told, untold = _Built(tmp_path, dockerfile, "--ca-certs", str(file)), _Built(tmp_path, dockerfile)
    assert told.layers() == untold.layers()


SHOW = """
find /etc/ssl /usr/local/share/ca-certificates /usr/share/ca-certificates -printf '%p %y %m %l\\n' 2>/dev/null | sort
find /etc/ssl /usr/local/share/ca-certificates -type f ! -name cacerts -exec sha256sum {} + | sort
[ -x /usr/bin/keytool ] && keytool -list -cacerts -storepass changeit | cut -d, -f1 | sort; true
"""


@pytest.mark.parametrize(
    "script",
    [
        "cp /c/own.pem /usr/local/share/ca-certificates/own.crt && update-ca-certificates",
        "keytool -importcert -noprompt -cacerts -storepass changeit -alias own -file /c/own.pem",
    ],
    ids=["update-ca-certificates", "keytool"],
)
def test_a_steps_own_change_is_all_that_it_keeps(authority, store, tmp_path, script):
    file, _ = authority
    dockerfile, own = f"FROM {TLS_BASE}\nRUN --mount=target=/c {script}\n", Authority("The step's own").pem
    told = _Built(tmp_path, dockerfile, "--ca-certs", str(file), **{"own.pem": own})
    untold = _Built(tmp_path, dockerfile, **{"own.pem": own})
    assert (shown := told.run(SHOW)) == untold.run(SHOW)
    assert "own" in shown
    assert "chandlery" not in shown


def test_installing_the_package_keeps_the_packages_files(authority, store, tmp_path):
    machine_images.ensure(PLAIN_BASE, "apt")
    file, _ = authority
    install = "apt-get update -q && apt-get install -qy --no-install-recommends ca-certificates"
    dockerfile = f"FROM {PLAIN_BASE}\nRUN {install} >/dev/null 2>&1 || echo no-mirror\n"
    told = _Built(tmp_path, dockerfile, "--ca-certs", str(file))
    if "no-mirror" in told.said():
        pytest.skip("no Debian mirror within a step's reach")
    untold = _Built(tmp_path, dockerfile)
    assert told.run(SHOW) == untold.run(SHOW)
