"""Real registries on loopback: Debian's docker-registry, open, with passwords, or with TLS and client certificates; and image tools beside them."""

import datetime
import os
import shutil
import socket
import ssl
import subprocess
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path

import pytest


@dataclass
class RealRegistry:
    host: str
    directory: Path

    def certs_d(self) -> str:
        return str(self.directory / "certs.d")


def need(program: str) -> None:
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not installed")


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


def start(directory: Path, *, http: str = "", auth: str = "", certificate: tuple[str, str] | None = None) -> tuple[RealRegistry, subprocess.Popen]:
    need("docker-registry")
    directory.mkdir(parents=True, exist_ok=True)
    port = free_port()
    config = directory / "config.yml"
    config.write_text(f"""version: 0.1
log: {{level: error, accesslog: {{disabled: true}}}}
storage:
  filesystem: {{rootdirectory: {directory}/data}}
  delete: {{enabled: true}}
{auth}http:
  addr: 127.0.0.1:{port}
{http}""")
    with (directory / "log").open("w") as log:
        process = subprocess.Popen(["docker-registry", "serve", str(config)], stdout=log, stderr=log)
    context = None
    if certificate:
        context = ssl.create_default_context(cafile=str(directory / "ca.crt"))
        context.load_cert_chain(*certificate)
    deadline = time.monotonic() + 20
    while True:
        try:
            urllib.request.urlopen(f"{'https' if certificate else 'http'}://127.0.0.1:{port}/v2/", timeout=2, context=context).close()
            break
        except urllib.error.HTTPError as answer:
            answer.close()
            break
        except OSError:
            if process.poll() is not None or time.monotonic() > deadline:
                process.kill()
                process.wait()
                raise AssertionError((directory / "log").read_text()) from None
            time.sleep(0.02)
    return RealRegistry(f"127.0.0.1:{port}", directory), process


def stop(process: subprocess.Popen) -> None:
    process.terminate()
    process.wait(20)


@pytest.fixture(scope="session")
def open_registry(tmp_path_factory):
    registry, process = start(tmp_path_factory.mktemp("open-registry"))
    yield registry
    stop(process)


@pytest.fixture(scope="session")
def password_registry(tmp_path_factory):
    """User "user", password "secret"."""
    need("htpasswd")
    directory = tmp_path_factory.mktemp("password-registry")
    made = subprocess.run(["htpasswd", "-Bbn", "user", "secret"], capture_output=True, check=True)
    (directory / "htpasswd").write_bytes(made.stdout)
    registry, process = start(directory, auth=f"auth:\n  htpasswd: {{realm: here, path: {directory}/htpasswd}}\n")
    yield registry
    stop(process)


@pytest.fixture(scope="session")
def tls_registry(tmp_path_factory):
    """TLS by an authority of its own, client certificates demanded; `certs_d()` holds what a client needs."""
    directory = tmp_path_factory.mktemp("tls-registry")
    make_certificates(directory)
    http = f"  tls:\n    certificate: {directory}/server.crt\n    key: {directory}/server.key\n    clientcas: [{directory}/ca.crt]\n"
    registry, process = start(directory, http=http, certificate=(f"{directory}/client.crt", f"{directory}/client.key"))
    place = directory / "certs.d" / registry.host
    place.mkdir(parents=True)
    shutil.copy(directory / "ca.crt", place / "ca.crt")
    shutil.copy(directory / "client.crt", place / "client.cert")
    shutil.copy(directory / "client.key", place / "client.key")
    yield registry
    stop(process)


def make_certificates(directory: Path) -> None:
    """ca.crt, and server and client certificates of it, each NAME.crt and NAME.key."""
    import ipaddress

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    now = datetime.datetime.now(datetime.UTC)

    def make(name: str, issuer: tuple[x509.Name, ec.EllipticCurvePrivateKey] | None) -> tuple[x509.Name, ec.EllipticCurvePrivateKey]:
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"test {name}")])
        issuer_name, issuer_key = issuer or (subject, key)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer_name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
            .sign(issuer_key, hashes.SHA256())
        )
        (directory / f"{name}.crt").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        (directory / f"{name}.key").write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
        return subject, key

    authority = make("ca", None)
    make("server", authority)
    make("client", authority)


@pytest.fixture(scope="session")
def layout(tmp_path_factory) -> Path:
    """An OCI layout with one image, tag "1": made by umoci, two layers, a file, a link and a deletion."""
    need("umoci")
    directory = tmp_path_factory.mktemp("layout")
    image = directory / "image"
    environment = {**os.environ, "TMPDIR": str(directory)}

    def umoci(*arguments: str) -> None:
        subprocess.run(["umoci", *arguments], check=True, capture_output=True, env=environment)

    umoci("init", "--layout", str(image))
    umoci("new", "--image", f"{image}:1")
    bundle = directory / "bundle"
    umoci("unpack", "--image", f"{image}:1", str(bundle))
    root = bundle / "rootfs"
    (root / "etc").mkdir()
    (root / "etc/hello").write_text("hello\n")
    (root / "etc/gone").write_text("soon\n")
    (root / "data").write_bytes(os.urandom(300_000))
    (root / "link").symlink_to("etc/hello")
    umoci("repack", "--image", f"{image}:1", str(bundle))
    shutil.rmtree(bundle)
    umoci("unpack", "--image", f"{image}:1", str(bundle))
    (root / "etc/gone").unlink()
    (root / "etc/more").write_text("more\n")
    umoci("repack", "--image", f"{image}:1", str(bundle))
    umoci("config", "--image", f"{image}:1", "--config.env", "A=1", "--config.cmd", "/bin/true")
    return image
