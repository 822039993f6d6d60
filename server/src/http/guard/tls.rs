//! TLS: the server's certificate, and the threads in which handshakes are computed.
//!
//! A handshake costs a signature, which is much for the poll loop and must not wait behind
//! requests in the workers. So each step of a handshake is computed by a thread of its own
//! kind. A peer that is silent within its handshake waits in the poll loop and holds no
//! thread.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use fleetbeat_daemon::lock::lock;
use fleetbeat_daemon::thread::spawn;
use rustls::crypto::ring;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection};

use super::connection::Connection;
use super::queues::{Task, Tasks};

/// Handshakes that may be computed, or wait for it, at once, for each core.
const HANDSHAKES_PER_CORE: usize = 8;

/// The files with the certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CertificateFiles {
    /// The certificate with its chain, in PEM.
    pub(crate) certificate: PathBuf,
    /// The certificate's key, in PEM.
    pub(crate) key: PathBuf,
}

/// Why a certificate cannot be used. The sentence names the file.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CertificateError {
    /// The file cannot be read, now.
    #[error("{file} cannot be read")]
    Unreadable { file: String, source: io::Error },
    /// What is in the file is of no use.
    #[error("{file}: {reason}")]
    Wrong { file: String, reason: String },
}

/// The certificate that new connections get.
#[derive(Debug, Clone)]
pub(crate) struct Certificate {
    config: Arc<Mutex<Arc<ServerConfig>>>,
}

impl Certificate {
    /// The certificate in these files.
    ///
    /// # Errors
    /// A file cannot be read or makes no sense, or the key is another certificate's.
    pub(crate) fn load(
        files: &CertificateFiles,
    ) -> Result<Certificate, CertificateError> {
        let config = Arc::new(Mutex::new(load(files)?));
        Ok(Certificate { config })
    }

    /// Takes the files as they are now, for new connections.
    ///
    /// # Errors
    /// As [`Certificate::load`]; the certificate so far stays.
    pub(crate) fn reload(
        &self,
        files: &CertificateFiles,
    ) -> Result<(), CertificateError> {
        *lock(&self.config) = load(files)?;
        Ok(())
    }

    /// The server's side of a new connection.
    pub(super) fn session(&self) -> Result<ServerConnection, rustls::Error> {
        ServerConnection::new(lock(&self.config).clone())
    }
}

fn load(files: &CertificateFiles) -> Result<Arc<ServerConfig>, CertificateError> {
    let wrong = |file: &Path, reason: String| CertificateError::Wrong {
        file: file.display().to_string(),
        reason,
    };

    let chain = CertificateDer::pem_file_iter(&files.certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| explain(&files.certificate, error))?;
    if chain.is_empty() {
        let reason = "there is no certificate in PEM in this file".to_owned();
        return Err(wrong(&files.certificate, reason));
    }
    let key = PrivateKeyDer::from_pem_file(&files.key)
        .map_err(|error| explain(&files.key, error))?;

    let provider = Arc::new(ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider);
    let config = builder
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key));
    let mut config = config.map_err(|error| {
        let reason = format!("cannot be used with the certificate: {error}");
        wrong(&files.key, reason)
    })?;

    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    // An agent that comes back with a ticket saves the server a signature.
    match ring::Ticketer::new() {
        Ok(ticketer) => config.ticketer = ticketer,
        Err(error) => return Err(wrong(&files.key, error.to_string())),
    }
    Ok(Arc::new(config))
}

fn explain(file: &Path, error: pem::Error) -> CertificateError {
    let file = file.display().to_string();
    match error {
        pem::Error::Io(source) => CertificateError::Unreadable { file, source },
        pem::Error::NoItemsFound => CertificateError::Wrong {
            file,
            reason: "there is no key in PEM without a password in this file".to_owned(),
        },
        error => CertificateError::Wrong {
            file,
            reason: format!("is not PEM: {error}"),
        },
    }
}

/// The threads that compute handshakes.
#[derive(Debug)]
pub(crate) struct Handshakes {
    /// `None` once the threads are to end.
    entrance: Option<SyncSender<Connection>>,
    threads: Vec<JoinHandle<()>>,
}

impl Handshakes {
    /// Starts a thread for each core.
    ///
    /// # Errors
    /// The system gives no further thread.
    pub(crate) fn start(cores: usize, tasks: &Arc<Tasks>) -> io::Result<Handshakes> {
        let (entrance, exit) = sync_channel(cores * HANDSHAKES_PER_CORE);
        let exit = Arc::new(Mutex::new(exit));
        let start = |n| {
            let (exit, tasks) = (exit.clone(), tasks.clone());
            spawn(format!("tls-{n}"), move || compute(&exit, &tasks))
        };

        Ok(Handshakes {
            entrance: Some(entrance),
            threads: (0..cores).map(start).collect::<io::Result<_>>()?,
        })
    }

    /// Gives a connection whose peer has sent something to a thread, or gives it back if
    /// too many wait.
    pub(super) fn push(&self, connection: Connection) -> Result<(), Connection> {
        match &self.entrance {
            Some(entrance) => {
                entrance
                    .try_send(connection)
                    .map_err(|refused| match refused {
                        std::sync::mpsc::TrySendError::Full(connection)
                        | std::sync::mpsc::TrySendError::Disconnected(connection) => {
                            connection
                        }
                    })
            }
            None => Err(connection),
        }
    }
}

impl Drop for Handshakes {
    fn drop(&mut self) {
        self.entrance = None;
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// Goes on with one handshake after the other, as far as what the peer has sent allows.
fn compute(exit: &Mutex<Receiver<Connection>>, tasks: &Tasks) {
    loop {
        // A statement of its own: the lock must not be held while a handshake is computed.
        let next = lock(exit).recv();
        let Ok(mut connection) = next else {
            return;
        };

        match connection.shake_hands() {
            Ok(()) => tasks.push(Task::Shaken(connection)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                tasks.push(Task::ShakeOn(connection));
            }
            // What is not TLS gets TLS's own alert, as far as the socket takes it.
            Err(_) => {}
        }
    }
}
