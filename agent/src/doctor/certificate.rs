//! The server's certificate, looked at without trust: to tell what is wrong with it.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Mutex};

use fleetbeat_daemon::lock::lock;
use rustls::client::danger::{
    HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier,
};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, Error, SignatureScheme,
};
use webpki::EndEntityCert;

use crate::config::ServerSettings;
use crate::http::{CONNECT_TIMEOUT, tls_provider};

/// The bits of the RSA key in the certificate of `server` at `address`; `None` if the key
/// is of another kind, or the certificate cannot be had.
pub(super) fn read_rsa_bits(server: &ServerSettings, address: SocketAddr) -> Option<u64> {
    let certificate = read_certificate(server, address)?;
    let certificate = CertificateDer::from(certificate);
    let certificate = EndEntityCert::try_from(&certificate).ok()?;
    parse_rsa_bits(certificate.subject_public_key_info().as_ref())
}

/// Begins a handshake that ends when the certificate has come.
fn read_certificate(server: &ServerSettings, address: SocketAddr) -> Option<Vec<u8>> {
    let looker = Arc::new(Looker::default());
    let config = ClientConfig::builder_with_provider(tls_provider())
        .with_safe_default_protocol_versions()
        .ok()?
        .dangerous()
        .with_custom_certificate_verifier(looker.clone())
        .with_no_client_auth();
    let name = ServerName::try_from(server.url.host.clone()).ok()?;
    let mut connection = ClientConnection::new(Arc::new(config), name).ok()?;

    let mut stream = TcpStream::connect_timeout(&address, CONNECT_TIMEOUT).ok()?;
    stream.set_read_timeout(Some(CONNECT_TIMEOUT)).ok()?;
    stream.set_write_timeout(Some(CONNECT_TIMEOUT)).ok()?;
    // It fails by design: nothing is ever sent over a connection without trust.
    let _: io::Result<_> = connection.complete_io(&mut stream);
    lock(&looker.certificate).take()
}

/// Keeps the certificate that it is shown, and trusts none.
#[derive(Debug, Default)]
struct Looker {
    certificate: Mutex<Option<Vec<u8>>>,
}

impl ServerCertVerifier for Looker {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        *lock(&self.certificate) = Some(certificate.to_vec());
        Err(refused())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(refused())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(refused())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        tls_provider()
            .signature_verification_algorithms
            .supported_schemes()
    }
}

fn refused() -> Error {
    Error::General("only looked at".to_owned())
}

/// DER's tags.
const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const SEQUENCE: u8 = 0x30;
/// The identifier of RSA's keys, `rsaEncryption`, as DER has it.
const RSA: [u8; 11] = [6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 13, 1, 1, 1];

/// The bits of the RSA key in a `SubjectPublicKeyInfo`; `None` if the key is of another
/// kind.
fn parse_rsa_bits(info: &[u8]) -> Option<u64> {
    let (info, _) = take(info, SEQUENCE)?;
    let (algorithm, rest) = take(info, SEQUENCE)?;
    if !algorithm.starts_with(&RSA) {
        return None;
    }
    let (key, _) = take(rest, BIT_STRING)?;
    let (key, _) = take(key.strip_prefix(&[0])?, SEQUENCE)?;
    let (modulus, _) = take(key, INTEGER)?;

    let first = modulus.iter().position(|byte| *byte != 0)?;
    let unused = u64::from(modulus[first].leading_zeros());
    Some(8 * (modulus.len() - first) as u64 - unused)
}

/// The content of DER's value with that tag at the beginning of `der`, and the rest.
fn take(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (&found, rest) = der.split_first()?;
    let (&length, mut rest) = rest.split_first()?;
    let mut length = usize::from(length);
    if length > 0x82 || found != tag {
        return None;
    }

    if length >= 0x80 {
        let (digits, behind) = rest.split_at_checked(length - 0x80)?;
        length = digits
            .iter()
            .fold(0, |sum, digit| sum << 8 | usize::from(*digit));
        rest = behind;
    }
    rest.split_at_checked(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A `SubjectPublicKeyInfo` with an RSA key of these bytes.
    fn info(modulus: &[u8]) -> Vec<u8> {
        let value = |tag: u8, content: &[u8]| {
            let length = u16::try_from(content.len()).unwrap().to_be_bytes();
            [&[tag, 0x82], &length[..], content].concat()
        };
        let key = value(
            SEQUENCE,
            &[value(INTEGER, modulus), value(INTEGER, &[3])].concat(),
        );
        let key = value(BIT_STRING, &[&[0][..], &key].concat());
        let algorithm = value(SEQUENCE, &[&RSA[..], &[5, 0]].concat());
        value(SEQUENCE, &[algorithm, key].concat())
    }

    #[test]
    fn the_bits_of_a_key_are_those_of_its_modulus() {
        for (modulus, bits) in [
            ([&[0, 0x80][..], &[1; 127]].concat(), 1024),
            ([&[0, 0xff][..], &[1; 255]].concat(), 2048),
            (vec![0x7f; 128], 1023),
        ] {
            assert_eq!(parse_rsa_bits(&info(&modulus)), Some(bits));
        }
    }

    #[test]
    fn what_is_no_rsa_key_has_no_bits() {
        let whole = info(&[0x80; 128]);
        for end in 0..whole.len() {
            assert!(parse_rsa_bits(&whole[..end]).is_none(), "{end}");
        }
        let mut other = whole;
        other[14] ^= 1;
        assert_eq!(parse_rsa_bits(&other), None);
    }
}
