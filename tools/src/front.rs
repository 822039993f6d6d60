//! The ways to a server: TCP, TLS, a Unix socket.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::client::{self, Answer, TIMEOUT, encode, read_answer};

/// A way to a server.
#[derive(Debug, Clone)]
pub enum Front {
    /// A TCP address.
    Tcp(SocketAddr),
    /// A TCP address where TLS is spoken, by a server called `localhost`.
    Tls(SocketAddr, Arc<ClientConfig>),
    /// The path of a Unix socket.
    Unix(PathBuf),
}

/// Both directions of a connection.
pub trait Stream: Read + Write + Send {}

impl<T: Read + Write + Send> Stream for T {}

impl Front {
    /// The way by TLS to a server whose authority has this certificate.
    ///
    /// # Panics
    /// If the text is not a certificate.
    pub fn with_tls(address: SocketAddr, authority_pem: &str) -> Front {
        let mut roots = RootCertStore::empty();
        let root = CertificateDer::from_pem_slice(authority_pem.as_bytes());
        roots
            .add(root.expect("a certificate"))
            .expect("an authority's certificate");

        let provider = rustls::crypto::ring::default_provider();
        let config = ClientConfig::builder_with_provider(provider.into())
            .with_safe_default_protocol_versions()
            .expect("the usual versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        Front::Tls(address, Arc::new(config))
    }

    /// A connection with timeouts.
    ///
    /// # Errors
    /// Nobody listens, or there is no handshake.
    pub fn connect(&self) -> io::Result<Box<dyn Stream>> {
        match self {
            Front::Tcp(address) => Ok(Box::new(client::connect(*address)?)),
            Front::Unix(path) => {
                let stream = UnixStream::connect(path)?;
                stream.set_read_timeout(Some(TIMEOUT))?;
                stream.set_write_timeout(Some(TIMEOUT))?;
                Ok(Box::new(stream))
            }
            Front::Tls(address, config) => {
                let name = ServerName::try_from("localhost").map_err(io::Error::other)?;
                let session = ClientConnection::new(config.clone(), name);
                let session = session.map_err(io::Error::other)?;
                let mut stream: StreamOwned<ClientConnection, TcpStream> =
                    StreamOwned::new(session, client::connect(*address)?);
                stream.conn.complete_io(&mut stream.sock)?;
                Ok(Box::new(stream))
            }
        }
    }

    /// Sends a request and reads the answer.
    ///
    /// # Errors
    /// The connection or the answer breaks off, or takes longer than [`TIMEOUT`].
    pub fn request(
        &self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> io::Result<Answer> {
        let mut stream = self.connect()?;
        stream.write_all(&encode(method, target, headers, body))?;
        stream.flush()?;
        read_answer(&mut stream)
    }
}
