//! The sockets of the listener. They are bound before the server makes anything, so that
//! an address that cannot be had leaves nothing behind, and they are opened when the
//! server can answer.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::Mode;
use socket2::{Domain, SockAddr, Socket, TcpKeepalive, Type};

use super::guard::doors::{Door, Speaks};
use super::guard::tls::Certificate;
use crate::listen::{self, Listen};

/// A dead peer's connection is noticed within about twice this.
const KEEPALIVE: Duration = Duration::from_secs(30);
/// The system gives up a closed connection whose peer takes nothing after this.
const UNREAD_TIMEOUT: Duration = Duration::from_secs(10);
/// Connections that may wait to be accepted.
const BACKLOG: i32 = 1024;

/// Sockets with their addresses, to which nobody can connect yet.
pub(crate) struct Sockets {
    main: Socket,
    /// Where HTTP is spoken only to say that HTTPS is.
    redirect: Option<Socket>,
    address: Listen,
    file: Option<SocketFile>,
}

/// The file of a Unix socket, which goes when the value is dropped: unless another server
/// has bound the path meanwhile.
pub(super) struct SocketFile {
    path: PathBuf,
    /// Device and inode, which tell the file from another server's.
    id: (u64, u64),
}

impl SocketFile {
    /// The file that is at `path` now.
    fn at(path: &Path) -> io::Result<SocketFile> {
        let path = path.to_owned();
        let id = find_id(&path)?;
        Ok(SocketFile { path, id })
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if find_id(&self.path).is_ok_and(|id| id == self.id) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn find_id(path: &Path) -> io::Result<(u64, u64)> {
    let metadata = fs::symlink_metadata(path)?;
    Ok((metadata.dev(), metadata.ino()))
}

impl Sockets {
    /// Takes the addresses.
    ///
    /// # Errors
    /// An address cannot be had.
    pub(crate) fn bind(
        listen: &Listen,
        redirect: Option<SocketAddr>,
    ) -> io::Result<Sockets> {
        let (main, address, file) = match listen {
            Listen::Tcp(address) => {
                let socket = bind_tcp(*address)?;
                let address = socket.local_addr()?.as_socket().unwrap_or(*address);
                (socket, Listen::Tcp(address), None)
            }
            Listen::Unix(path) => {
                let (socket, file) = bind_unix(path)?;
                (socket, listen.clone(), Some(file))
            }
        };
        let redirect = redirect.map(bind_redirect).transpose()?;

        Ok(Sockets {
            main,
            redirect,
            address,
            file,
        })
    }

    /// The main address, with the port that was taken.
    pub(super) fn address(&self) -> &Listen {
        &self.address
    }

    /// Lets peers connect: they are encrypted if there is a certificate. Gives the doors,
    /// and the file to remove at the end.
    ///
    /// # Errors
    /// The system does not listen: somebody else does on the same address.
    pub(super) fn open(
        self,
        certificate: Option<Certificate>,
    ) -> io::Result<(Vec<Door>, Option<SocketFile>)> {
        let mut doors = vec![Door {
            socket: self.main.into(),
            speaks: certificate.map_or(Speaks::Http, Speaks::Https),
        }];
        if let (Some(redirect), Listen::Tcp(https)) = (self.redirect, &self.address) {
            doors.push(Door {
                socket: redirect.into(),
                speaks: Speaks::Redirect(https.port()),
            });
        }

        for door in &doors {
            rustix::net::listen(&door.socket, BACKLOG)?;
        }
        Ok((doors, self.file))
    }
}

fn bind_redirect(address: SocketAddr) -> io::Result<Socket> {
    bind_tcp(address).map_err(|error| {
        let message = format!("{address} for tls.redirect_listen: {error}");
        io::Error::new(error.kind(), message)
    })
}

fn bind_tcp(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;

    // Accepted sockets inherit these options from their listener on Linux, which saves a
    // call for each connection.
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_keepalive(
        &TcpKeepalive::new()
            .with_time(KEEPALIVE)
            .with_interval(KEEPALIVE / 3)
            .with_retries(3),
    )?;
    socket.set_tcp_user_timeout(Some(UNREAD_TIMEOUT))?;

    let bound = socket.bind(&address.into());
    bound.map_err(|error| explain_low_port(address.port(), error))?;
    Ok(socket)
}

/// The error, and what helps where the kernel keeps the port for the privileged.
fn explain_low_port(port: u16, error: io::Error) -> io::Error {
    let first_free = listen::first_free_port();
    if error.kind() != io::ErrorKind::PermissionDenied || port >= first_free {
        return error;
    }
    let message = format!(
        "{error}; a port below {first_free} needs CAP_NET_BIND_SERVICE: the comments \
         of fleetbeat-server.service name the drop-in that gives it"
    );
    io::Error::new(error.kind(), message)
}

/// Binds the path, over a socket that a killed predecessor left, and lets owner and group
/// in.
fn bind_unix(path: &Path) -> io::Result<(Socket, SocketFile)> {
    if UnixStream::connect(path).is_ok() {
        return Err(io::Error::from(io::ErrorKind::AddrInUse));
    }

    let metadata = fs::symlink_metadata(path);
    if metadata.is_ok_and(|metadata| metadata.file_type().is_socket()) {
        fs::remove_file(path)?;
    }

    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    let address = SockAddr::unix(path)?;
    // Bound with its final mode: there is no moment in which others could connect.
    let before = rustix::process::umask(Mode::from_raw_mode(0o117));
    let bound = socket.bind(&address);
    rustix::process::umask(before);
    bound?;
    Ok((socket, SocketFile::at(path)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_takes_peers_when_it_is_opened_and_leaves_no_file_behind() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("http.sock");
        let bind = || Sockets::bind(&Listen::Unix(path.clone()), None).unwrap();

        drop(bind());
        assert!(!path.exists(), "a start that fails leaves nothing");

        let sockets = bind();
        assert!(UnixStream::connect(&path).is_err(), "nobody would answer");
        let (doors, file) = sockets.open(None).unwrap();
        assert_eq!(doors.len(), 1);
        UnixStream::connect(&path).unwrap();
        drop(file);
        assert!(!path.exists());

        let before = bind();
        fs::remove_file(&path).unwrap();
        let _after = bind();
        drop(before);
        assert!(path.exists(), "another server's");
    }

    #[test]
    fn a_port_that_is_kept_for_the_privileged_is_explained() {
        let denied = || io::Error::from(io::ErrorKind::PermissionDenied);
        // The kernel of a container may keep none.
        let kept = listen::first_free_port().saturating_sub(1);
        let told = explain_low_port(kept, denied()).to_string();
        assert!(kept == 0 || told.contains("CAP_NET_BIND_SERVICE"), "{told}");
        let told = explain_low_port(u16::MAX, denied()).to_string();
        assert!(!told.contains("CAP_NET_BIND_SERVICE"), "{told}");
        let taken = io::Error::from(io::ErrorKind::AddrInUse);
        assert!(!explain_low_port(kept, taken).to_string().contains("CAP_"));
    }
}
