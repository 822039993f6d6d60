//! A stand-in for a server, or for a proxy before a server: takes each connection and
//! treats every connection in the same way, with TLS or without.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType,
    IsCa, KeyPair,
};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// Longest wait for a peer.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Listens on a port of loopback; dropping the value ends its thread.
pub struct StandIn {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl StandIn {
    /// Treats one connection after the other as `treat` says.
    ///
    /// # Panics
    /// If there is no free port.
    pub fn start(treat: impl Fn(TcpStream) + Send + 'static) -> StandIn {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let address = listener.local_addr().expect("a bound listener");

        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if stopped.load(Ordering::Relaxed) {
                    return;
                }
                let _ = stream.set_read_timeout(Some(TIMEOUT));
                treat(stream);
            }
        });

        StandIn {
            address,
            stop,
            thread: Some(thread),
        }
    }

    /// Answers every request with the bytes of `answer`.
    pub fn answering(answer: String) -> StandIn {
        StandIn::start(move |mut stream| {
            if read_request(&mut stream).is_some() {
                let _ = stream.write_all(answer.as_bytes());
            }
        })
    }

    /// Takes requests with TLS and the certificate, and hands the requests to the server
    /// at `target`.
    pub fn with_tls(certificate: &Certificate, target: SocketAddr) -> StandIn {
        StandIn::answering_with_tls(certificate, move |request| {
            let mut server = TcpStream::connect(target).ok()?;
            let mut answer = Vec::new();
            server
                .write_all(request)
                .and_then(|()| server.read_to_end(&mut answer))
                .ok()?;
            Some(answer)
        })
    }

    /// Takes requests with TLS and the certificate, and answers as `answer` says.
    pub fn answering_with_tls(
        certificate: &Certificate,
        answer: impl Fn(&[u8]) -> Option<Vec<u8>> + Send + 'static,
    ) -> StandIn {
        let certificate = certificate.clone();
        StandIn::start(move |stream| {
            let Some(mut peer) = certificate.accept(stream) else {
                return;
            };

            let Some(answer) =
                read_request(&mut peer).and_then(|request| answer(&request))
            else {
                return;
            };

            let _ = peer.write_all(&answer);
            peer.conn.send_close_notify();
            let _ = peer.flush();
        })
    }

    /// The address that the stand-in listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for StandIn {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(self.address);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A whole request; `None` if the peer hangs up before the end of the request, as a peer
/// that does not trust the certificate does.
pub(crate) fn read_request(peer: &mut impl Read) -> Option<Vec<u8>> {
    let mut request = Vec::new();
    loop {
        let mut buffer = [0; 4096];
        let count = peer.read(&mut buffer).ok().filter(|count| *count > 0)?;
        request.extend_from_slice(&buffer[..count]);

        let text = String::from_utf8_lossy(&request).to_ascii_lowercase();
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            continue;
        };

        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
        if body.len() >= length.unwrap_or(0) {
            return Some(request);
        }
    }
}

/// An authority of a test's own.
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A server's certificate from an [`Authority`].
#[derive(Clone)]
pub struct Certificate {
    config: Arc<ServerConfig>,
    /// The certificate, in the format of a file.
    pub pem: String,
    /// The certificate's key.
    pub key_pem: String,
}

impl Certificate {
    /// The server's end of TLS on `stream`; the handshake comes with the first read.
    pub(crate) fn accept(
        &self,
        stream: TcpStream,
    ) -> Option<StreamOwned<ServerConnection, TcpStream>> {
        let connection = ServerConnection::new(self.config.clone()).ok()?;
        Some(StreamOwned::new(connection, stream))
    }
}

impl Authority {
    /// An authority that nobody knows yet.
    ///
    /// # Panics
    /// If no key can be made.
    pub fn new() -> Authority {
        let mut parameters = CertificateParams::default();
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        // A name of its own, because OpenSSL takes a certificate with the name of its
        // issuer for self-signed.
        parameters.distinguished_name = DistinguishedName::new();
        parameters
            .distinguished_name
            .push(DnType::CommonName, "An authority of the tests");
        let key = KeyPair::generate().expect("a key");
        Authority(CertifiedIssuer::self_signed(parameters, key).expect("a certificate"))
    }

    /// The authority's own certificate, for programs that are to trust the authority.
    pub fn pem(&self) -> String {
        self.0.pem()
    }

    /// A certificate for `name`, valid in the given years.
    ///
    /// # Panics
    /// If the certificate cannot be made.
    pub fn certify(&self, name: &str, years: std::ops::Range<i32>) -> Certificate {
        let mut parameters = CertificateParams::new([name.to_owned()]).expect("a name");
        parameters.not_before = rcgen::date_time_ymd(years.start, 1, 1);
        parameters.not_after = rcgen::date_time_ymd(years.end, 1, 1);

        let key = KeyPair::generate().expect("a key");
        let certificate = parameters.signed_by(&key, &self.0).expect("a certificate");
        let key_pem = key.serialize_pem();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));

        let config = ServerConfig::builder_with_provider(
            rustls::crypto::ring::default_provider().into(),
        )
        .with_safe_default_protocol_versions()
        .expect("the usual versions")
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key);

        let config = Arc::new(config.expect("key and certificate belong together"));
        Certificate {
            config,
            pem: certificate.pem(),
            key_pem,
        }
    }
}

impl Default for Authority {
    fn default() -> Authority {
        Authority::new()
    }
}
