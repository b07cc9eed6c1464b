"""A server that takes mails, with the faults that servers have: `aiosmtpd`, and Python's `email` to read them."""

import asyncio
import datetime
import email
import email.policy
import html.parser
import ipaddress
import logging
import pathlib
import ssl
import threading
import time
import warnings

from aiosmtpd.smtp import SMTP, AuthResult
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

# It warns of passwords without STARTTLS, also where TLS is there from the first byte.
warnings.filterwarnings("ignore", module="aiosmtpd")
logging.getLogger("mail.log").setLevel(logging.ERROR)

USER, PASSWORD = "countersign", "a password with blanks"


def certificate(folder: pathlib.Path, name: str) -> ssl.SSLContext:
    """A certificate for this machine, for which the authority in `NAME.pem` of the folder vouches."""
    now = datetime.datetime.now(datetime.timezone.utc)

    def sign(common: str, public, issuer: str, key, *extensions):
        title = lambda text: x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])  # noqa: E731
        made = (x509.CertificateBuilder().subject_name(title(common)).issuer_name(title(issuer)).public_key(public)
                .serial_number(x509.random_serial_number()).not_valid_before(now - datetime.timedelta(days=1))
                .not_valid_after(now + datetime.timedelta(days=1)))
        for extension, critical in extensions:
            made = made.add_extension(extension, critical)
        return made.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    authority, own = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    is_authority = (x509.BasicConstraints(ca=True, path_length=0), True)
    here = (x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
    (folder / f"{name}.pem").write_bytes(sign(name, authority.public_key(), name, authority, is_authority))
    chain, private = folder / f"{name}.chain", folder / f"{name}.key"
    chain.write_bytes(sign("here", own.public_key(), name, authority, here))
    private.touch(mode=0o600)
    private.write_bytes(own.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
                                          serialization.NoEncryption()))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain, private)
    return context


class Links(html.parser.HTMLParser):
    """The links of a page, its words, and everything that would be fetched."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links, self.words, self.tags = [], [], set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list) -> None:
        self.tags.add(tag)
        self.links += [value for name, value in attrs if name in ("href", "src", "action", "background")]

    def handle_data(self, data: str) -> None:
        self.words.append(data)


class Mail:
    """A mail as it arrived."""

    def __init__(self, envelope) -> None:
        self.rcpt, self.sender, self.raw = list(envelope.rcpt_tos), envelope.mail_from, envelope.content
        self.message = email.message_from_bytes(self.raw, policy=email.policy.default)
        self.name = self.message["Message-ID"]
        self.thread = self.message["References"]
        self.subject = self.message["Subject"]
        self.text = self.message.get_body(("plain",)).get_content().replace("\r\n", "\n")
        self.html = self.message.get_body(("html",)).get_content()
        self.page = Links(self.html)

    def __repr__(self) -> str:
        return f"<{self.rcpt} {self.subject!r} {self.text.splitlines()[0]!r}>"


class Mailbox:
    """The server. `tls` is `implicit`, `starttls`, `stripped` (which offers none) or `none`."""

    def __init__(self, folder: pathlib.Path, tls: str) -> None:
        self.tls, self.mails, self.heard, self.faults = tls, [], [], []
        self.password = PASSWORD
        self.context = certificate(folder, "smtp") if tls != "none" else None
        self.loop = asyncio.new_event_loop()
        threading.Thread(target=self.loop.run_forever, daemon=True).start()
        self.server, self.port, self.open = None, 0, []
        self.come()

    def come(self) -> None:
        """Listens, at the same port as before."""
        async def listen():
            context = self.context if self.tls == "implicit" else None
            return await self.loop.create_server(self.factory, "127.0.0.1", self.port, ssl=context, reuse_address=True)

        self.server = asyncio.run_coroutine_threadsafe(listen(), self.loop).result(20)
        self.port = self.server.sockets[0].getsockname()[1]

    def go(self) -> None:
        """Goes away, with every connection."""
        async def leave():
            self.server.close()
            for one in self.open:
                if one.transport:
                    one.transport.abort()
            self.open.clear()

        asyncio.run_coroutine_threadsafe(leave(), self.loop).result(20)

    def factory(self):
        more = {"hostname": "stand-in.example", "command_call_limit": {"*": 10_000}}
        if self.tls == "starttls":
            more.update(tls_context=self.context, require_starttls=True)
        if self.tls != "none":
            more.update(authenticator=self.authenticate, auth_required=self.tls != "stripped",
                        auth_require_tls=self.tls == "starttls")
        self.open.append(SMTP(self, loop=self.loop, **more))
        return self.open[-1]

    def authenticate(self, server, session, envelope, mechanism, data) -> AuthResult:
        self.heard.append("AUTH")
        good = data.login == USER.encode() and data.password == self.password.encode()
        return AuthResult(success=good, handled=False)

    def fault(self, at: str, address: str = "") -> str | None:
        """The next fault at this point, where there is one: it is used up, unless it stays."""
        for fault in self.faults:
            if fault["at"] == at and fault.get("of", address) == address:
                if not fault.get("stays"):
                    self.faults.remove(fault)
                return fault["does"]
        return None

    async def handle_MAIL(self, server, session, envelope, address, options) -> str:
        self.heard.append("MAIL")
        envelope.mail_from = address
        return self.fault("MAIL") or "250 OK"

    async def handle_RCPT(self, server, session, envelope, address, options) -> str:
        if fault := self.fault("RCPT", address):
            return fault
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope) -> str:
        [address] = envelope.rcpt_tos
        fault = self.fault("DATA", address)
        if fault == "slow":
            await asyncio.sleep(4)
        if fault in (None, "slow", "drop"):
            self.mails.append(Mail(envelope))
        if fault == "drop":
            server.transport.abort()
            return "250 nobody hears this"
        return fault if fault not in (None, "slow") else "250 taken"

    def to(self, address: str) -> list[Mail]:
        return [mail for mail in self.mails if mail.rcpt == [address]]


def wait_for(found, seconds: float = 30):
    """What `found` finds, once it does."""
    end = time.monotonic() + seconds
    while not (got := found()):
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.05)
    return got
