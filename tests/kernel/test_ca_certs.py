"""`--ca-certs` in a real Debian: steps trust the extra authority, and layers don't show it."""

import datetime
import os
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from tests.kernel.conftest import StepRunner

from chandlery.linux import mount
from chandlery.runtime import ca_certs, trust_store
from chandlery.runtime.ca_certs import CaCertificates
from chandlery.runtime.ca_injection import TrustedInStep
from chandlery.runtime.process import RuntimeMount, StepUser
from chandlery.runtime.stubs import MountStubs

BUNDLE = "etc/ssl/certs/ca-certificates.crt"
JAVA_STORE = "etc/ssl/certs/java/cacerts"
PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
ENV = (PATH, "DEBIAN_FRONTEND=noninteractive")


def authority(name):
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(subject).public_key(key.public_key()).serial_number(x509.random_serial_number())
    builder = builder.not_valid_before(datetime.datetime(2020, 1, 1)).not_valid_after(datetime.datetime(2049, 1, 1))
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)


EXTRA = authority("Extra CA")
OWN = authority("The step's own CA")


class Machine:
    """Runs steps on layers, as the engine does, with the extra authority."""

    def __init__(self, tmp_path, runtime_name="crun"):
        self.directory = tmp_path
        self.steps = StepRunner(runtime_name, tmp_path, "")
        self.count = 0

    def step(self, lowers, script, *, mounts=(), extra=EXTRA, user=None):
        """The step's result and its upper."""
        self.count += 1
        upper, work, merged, scratch = (self.directory / f"{name}{self.count}" for name in ("u", "w", "m", "s"))
        for directory in (upper, work, merged, scratch):
            directory.mkdir()
        mount.mount_overlay(str(merged), [str(lower) for lower in lowers], upper=str(upper), work=str(work))
        try:
            trusted = TrustedInStep(CaCertificates((extra,)), str(merged), upper=str(upper), directory=str(scratch), env=ENV)
            stubs = MountStubs(str(merged), [*mounts, *trusted.mounts], upper=str(upper))
            finished = self.steps.shell(
                script, rootfs=str(merged), env=(*ENV, *trusted.env), mounts=stubs.mounts, timeout_s=100.0, **({"user": user} if user else {})
            )
            stubs.remove()
            trusted.remove()
        finally:
            mount.unmount(str(merged))
        stubs.clean_upper()
        trusted.clean_upper()
        return finished, upper


@pytest.fixture
def machine(tmp_path):
    made = Machine(tmp_path)
    yield made
    made.steps.runtime.close()


@pytest.fixture(scope="module")
def module_machine(tmp_path_factory):
    made = Machine(tmp_path_factory.mktemp("installing"))
    yield made
    made.steps.runtime.close()


@pytest.fixture(scope="module")
def installed(debian, module_machine):
    """Lowers with ca-certificates and a JRE, installed by a step that had the extra authority; and that step's end."""
    script = f"dpkg -i /archives/*.deb >/root/log 2>&1 || {{ cat /root/log; exit 1; }}; rm /root/log; cat /{BUNDLE}"
    finished, upper = module_machine.step([debian / "root"], script, mounts=(RuntimeMount("/archives", str(debian / "archives"), is_read_only=True),))
    assert finished.code == 0, finished.out[-3000:] + finished.err[-2000:]
    return (debian / "root", upper), finished


def traces(upper, certificate):
    """Files of a layer that hold the certificate or our names."""
    needle = ca_certs.to_pem([certificate]).splitlines()[3]
    found = []
    for directory, names, files in os.walk(upper):
        for name in (*names, *files):
            path = os.path.join(directory, name)
            link = os.readlink(path) if os.path.islink(path) else ""
            data = Path(path).read_bytes() if os.path.isfile(path) and not link else b""
            if "chandlery" in name or "chandlery" in link or needle in data or certificate in data:
                found.append(os.path.relpath(path, upper))
    return found


def test_installing_the_packages_that_own_the_bundles_works_and_leaves_no_trace(installed):
    (_, upper), finished = installed
    assert EXTRA in ca_certs.certificates_in(finished.out.encode())
    assert traces(upper, EXTRA) == []
    assert len(ca_certs.certificates_in((upper / BUNDLE).read_bytes())) > 100
    assert len(trust_store.certificates_in((upper / JAVA_STORE).read_bytes())) > 100
    assert os.stat(upper / "usr/local/share/ca-certificates").st_mode & 0o7777 == 0o755


def test_a_step_sees_it_in_the_bundle_and_its_layer_is_empty(machine, installed):
    lowers, _ = installed
    finished, upper = machine.step(lowers, f"cat /{BUNDLE}")
    assert EXTRA in ca_certs.certificates_in(finished.out.encode())
    assert list(upper.rglob("*")) == []


def test_java_itself_reads_the_store(machine, installed):
    lowers, _ = installed
    finished, upper = machine.step(lowers, "keytool -list -cacerts -storepass changeit | grep trustedCertEntry")
    assert finished.out.count("\n") > 100
    assert "chandlery-0" in finished.out
    assert not (upper / "etc").exists()


def test_update_ca_certificates_keeps_only_the_steps_own(machine, installed):
    lowers, _ = installed
    pem = ca_certs.to_pem([OWN]).decode()
    script = f"printf '%s' '{pem}' >/usr/local/share/ca-certificates/own.crt && update-ca-certificates >&2 && cat /{BUNDLE}"
    finished, upper = machine.step(lowers, script)
    assert finished.code == 0, finished.err
    assert {EXTRA, OWN} <= set(ca_certs.certificates_in(finished.out.encode()))
    after = ca_certs.certificates_in((upper / BUNDLE).read_bytes())
    assert (EXTRA in after, after.count(OWN)) == (False, 1)
    assert traces(upper, EXTRA) == []
    java = trust_store.certificates_in((upper / JAVA_STORE).read_bytes())
    assert (EXTRA in java, OWN in java) == (False, True)
    assert sorted(os.listdir(upper / "usr/local/share/ca-certificates")) == ["own.crt"]


def test_keytool_keeps_only_the_steps_own(machine, installed):
    lowers, _ = installed
    pem = ca_certs.to_pem([OWN]).decode()
    script = f"printf '%s' '{pem}' >/root/own.pem && keytool -importcert -noprompt -cacerts -storepass changeit -alias own -file /root/own.pem"
    finished, upper = machine.step(lowers, script)
    assert finished.code == 0, finished.out + finished.err
    java = trust_store.certificates_in((upper / JAVA_STORE).read_bytes())
    assert (EXTRA in java, OWN in java) == (False, True)
    assert not (upper / BUNDLE).exists()
    assert traces(upper, EXTRA) == []


def test_a_step_that_adds_the_same_authority_keeps_it(machine, installed):
    lowers, _ = installed
    pem = ca_certs.to_pem([EXTRA]).decode()
    finished, upper = machine.step(lowers, f"printf '%s' '{pem}' >/usr/local/share/ca-certificates/corporate.crt && update-ca-certificates")
    assert finished.code == 0
    assert ca_certs.certificates_in((upper / BUNDLE).read_bytes()).count(EXTRA) == 1
    assert (upper / "usr/local/share/ca-certificates/corporate.crt").exists()


def test_a_step_that_removes_the_bundle_has_removed_it(machine, installed):
    lowers, _ = installed
    finished, upper = machine.step(lowers, f"rm /{BUNDLE}")
    assert finished.code == 0
    assert os.stat(upper / BUNDLE, follow_symlinks=False).st_rdev == 0
    assert os.path.lexists(upper / BUNDLE)


def test_an_image_without_bundle_gets_one_beside_it(machine, debian):
    finished, upper = machine.step([debian / "root"], "cat $SSL_CERT_FILE; cat $NODE_EXTRA_CA_CERTS >&2", user=StepUser(1000, 1000))
    assert EXTRA in ca_certs.certificates_in(finished.out.encode())
    assert EXTRA in ca_certs.certificates_in(finished.err.encode())
    assert list(upper.rglob("*")) == []


def test_the_variables_lead_to_a_bundle_with_it(machine, installed):
    lowers, _ = installed
    finished, _ = machine.step(lowers, "for v in $SSL_CERT_FILE $CURL_CA_BUNDLE $REQUESTS_CA_BUNDLE $PIP_CERT $GIT_SSL_CAINFO; do echo $v; done")
    assert set(finished.out.split()) == {f"/{BUNDLE}"}


def test_openssl_verifies_with_it(machine, installed):
    lowers, _ = installed
    pem = ca_certs.to_pem([EXTRA]).decode()
    finished, _ = machine.step(lowers, f"printf '%s' '{pem}' | openssl verify -CAfile $SSL_CERT_FILE")
    assert "OK" in finished.out, finished.err


def test_adding_and_subtracting_gives_the_store_back(installed):
    (_, upper), _ = installed
    before = (upper / JAVA_STORE).read_bytes()
    assert trust_store.subtract(trust_store.add(before, [EXTRA], "chandlery-"), "chandlery-") == before
