"""Image files that say how they may be used: real C2PA manifests, and XMP in every place for it."""

import functools
import io
import json
import struct
import zlib
from datetime import UTC, datetime, timedelta
from typing import Any

import c2pa
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from clip_assets_tests.download.pairs import encode

PROHIBITED = "http://ns.useplus.org/ldf/vocab/DMI-PROHIBITED-AIMLTRAINING"

ATTRIBUTE = f'plus:DataMining="{PROHIBITED}"/>'
TEXT = f"><plus:DataMining>{PROHIBITED}</plus:DataMining></rdf:Description>"
REFERENCE = f'><plus:DataMining\n rdf:resource="{PROHIBITED}"/></rdf:Description>'


def xmp(data_mining: str = ATTRIBUTE) -> bytes:
    """An XMP packet with a description that ends so."""
    return (
        '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>'
        '<x:xmpmeta xmlns:x="adobe:ns:meta/">'
        '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description '
        'rdf:about="" xmlns:plus="http://ns.useplus.org/ldf/xmp/1.0/" '
        f'{data_mining}</rdf:RDF></x:xmpmeta><?xpacket end="w"?>'
    ).encode()


def png_with(kind: bytes, content: bytes) -> bytes:
    """A png with one more chunk before its pixels."""
    plain = encode("PNG")
    chunk = struct.pack(">I", len(content)) + kind + content
    return plain[:33] + chunk + struct.pack(">I", zlib.crc32(kind + content)) + plain[33:]


def with_xmp(form: str, packet: bytes) -> bytes:
    """An image of one of Pillow's formats, or of a png's further ways, with XMP."""
    match form:
        case "packed png":
            text = b"XML:com.adobe.xmp\0\x01\0\0\0" + zlib.compress(packet)
            return png_with(b"iTXt", text)
        case "profile png" | "plain profile png":
            text = b"\nxmp\n%8d\n%s\n" % (len(packet), packet.hex().encode())
            if form == "profile png":
                return png_with(b"zTXt", b"Raw profile type xmp\0\0" + zlib.compress(text))
            return png_with(b"tEXt", b"Raw profile type xmp\0" + text)
        case "PNG":
            return png_with(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + packet)
        case "TIFF":
            return encode(form, tiffinfo={700: packet})
        case "GIF":
            plain, trailer = encode(form), bytes([1, *reversed(range(256)), 0])
            return plain[:-1] + b"!\xff\x0bXMP DataXMP" + packet + trailer + plain[-1:]
        case _:
            return encode(form, xmp=packet)


def training(prefix: str = "cawg", **uses: str) -> dict[str, Any]:
    """An assertion on training and data mining."""
    entries = {f"{prefix}.{name}": {"use": use} for name, use in uses.items()}
    return {"label": f"{prefix}.training-mining", "data": {"entries": entries}}


def signed(body: bytes, media_type: str, *assertions: dict[str, Any]) -> bytes:
    """A file with a manifest that its maker signed, as cameras and editors write it."""
    source = "http://cv.iptc.org/newscodes/digitalsourcetype/digitalCapture"
    created = {"action": "c2pa.created", "digitalSourceType": source}
    actions = {"label": "c2pa.actions.v2", "data": {"actions": [created]}}
    generator = {"name": "test", "version": "1"}
    builder = c2pa.Builder(
        json.dumps({"claim_generator_info": [generator], "assertions": [actions, *assertions]})
    )
    chain, key = _identity()
    info = c2pa.C2paSignerInfo(b"es256", chain, key, None)
    content = io.BytesIO()
    with c2pa.Signer.from_info(info) as signer:
        builder.sign(signer, media_type, io.BytesIO(body), content)
    return content.getvalue()


@functools.cache
def _identity() -> tuple[bytes, bytes]:
    """A certificate chain and the key of its first certificate, as pem."""
    root, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    others = "content_commitment key_encipherment data_encipherment key_agreement"
    usages = dict.fromkeys(f"{others} encipher_only decipher_only".split(), False)

    def certificate(public: ec.EllipticCurvePublicKey, name: str, *, signs: bool) -> bytes:
        now = datetime.now(UTC)
        usage = x509.KeyUsage(
            digital_signature=not signs, key_cert_sign=signs, crl_sign=signs, **usages
        )
        builder = (
            x509.CertificateBuilder()
            .subject_name(_name(name))
            .issuer_name(_name("root"))
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=30))
            .add_extension(x509.BasicConstraints(signs, None), critical=True)
            .add_extension(usage, critical=True)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(root.public_key()),
                critical=False,
            )
        )
        if not signs:
            purpose = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION])
            builder = builder.add_extension(purpose, critical=False)
        return builder.sign(root, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    chain = certificate(key.public_key(), "maker", signs=False)
    return chain + certificate(root.public_key(), "root", signs=True), pem


def _name(name: str) -> x509.Name:
    names = [(NameOID.COMMON_NAME, name), (NameOID.ORGANIZATION_NAME, "Test")]
    return x509.Name([x509.NameAttribute(*one) for one in names])
