//! The certificate on the disk: read again when it changes, or when a signal asks for it.
//!
//! Certificates are renewed every few weeks by another program, which often cannot tell
//! this one. So the files are looked at, too.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fleetbeat_daemon::condition::Condition;
use fleetbeat_daemon::exit::explain;
use fleetbeat_daemon::lock::lock;

use crate::http::{Certificate, CertificateError, CertificateFiles};
use crate::jobs::Jobs;

/// How often the files are looked at.
const INTERVAL: Duration = Duration::from_secs(10);

/// The certificate, and where it comes from.
pub(crate) struct Certificates {
    files: CertificateFiles,
    certificate: Certificate,
    state: Mutex<State>,
}

/// What was seen at the last look.
struct State {
    stamps: [Option<Stamp>; 2],
    trouble: Condition,
}

/// What tells one content of a file from another: inode, length, and time of the change.
type Stamp = (u64, u64, i64, i64);

impl Certificates {
    /// The certificate in these files.
    ///
    /// # Errors
    /// A file cannot be read or makes no sense, or the key is another certificate's.
    pub(crate) fn load(
        files: CertificateFiles,
    ) -> Result<Certificates, CertificateError> {
        let stamps = stamps(&files);
        let certificate = Certificate::load(&files)?;

        Ok(Certificates {
            files,
            certificate,
            state: Mutex::new(State {
                stamps,
                trouble: Condition::default(),
            }),
        })
    }

    /// The certificate that new connections get.
    pub(crate) fn current(&self) -> Certificate {
        self.certificate.clone()
    }

    /// Reads the files again. What is wrong is logged, and the certificate so far stays.
    pub(crate) fn reread(&self) {
        let mut state = lock(&self.state);
        state.stamps = stamps(&self.files);

        match self.certificate.reload(&self.files) {
            Ok(()) => {
                state.trouble.ends();
                log::info!("new connections get the certificate as it is now");
            }
            Err(error) => {
                let error = explain(&error);
                if state.trouble.begins(&*error) {
                    log::error!("the certificate so far stays: {error}");
                }
            }
        }
    }

    /// Reads the files again if they have changed.
    fn look(&self) {
        let is_changed = lock(&self.state).stamps != stamps(&self.files);
        if is_changed {
            self.reread();
        }
    }
}

/// Starts the job that looks at the files.
///
/// # Errors
/// The system gives no further thread.
pub(crate) fn start(jobs: &mut Jobs, certificates: Arc<Certificates>) -> io::Result<()> {
    jobs.start("certificates", move |stop, pulse| {
        while stop.wait(INTERVAL) {
            pulse.round(|| certificates.look());
        }
    })
}

fn stamps(files: &CertificateFiles) -> [Option<Stamp>; 2] {
    [&files.certificate, &files.key].map(|file| stamp(file))
}

fn stamp(file: &Path) -> Option<Stamp> {
    let metadata = fs::metadata(file).ok()?;
    let (seconds, nanoseconds) = (metadata.mtime(), metadata.mtime_nsec());
    Some((metadata.ino(), metadata.len(), seconds, nanoseconds))
}
