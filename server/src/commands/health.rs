//! `health`: asks the running server for a sign of life.

use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::mpsc;
use std::time::Duration;

use fleetbeat_daemon::thread::spawn;

use crate::config;
use crate::error::ServerError;
use crate::listen::Listen;

/// How long a socket is waited for.
const TIMEOUT: Duration = Duration::from_secs(5);
/// How long the answer is waited for. Shorter than [`TIMEOUT`], so that this sentence is
/// told and not that of a socket.
const MAX_WAIT: Duration = Duration::from_secs(4);

/// Asks the server where the configuration says that it listens, and prints that it is
/// healthy.
///
/// # Errors
/// The server is not healthy, or nobody can tell where it listens.
pub(super) fn ask(
    file: Option<&Path>,
    variable: impl Fn(&str) -> Option<OsString>,
) -> Result<(), ServerError> {
    let (listen, protocol) =
        config::find_listen(file, variable).map_err(ServerError::Unhealthy)?;
    let url = listen.url(protocol);

    ask_in_time(&listen).map_err(|error| {
        ServerError::Unhealthy(format!("{url} is not healthy: {error}"))
    })?;

    println!("{url} is healthy");
    Ok(())
}

/// Asks the server at `address`.
///
/// # Errors
/// There is no good answer, or none in time.
fn ask_in_time(address: &Listen) -> io::Result<()> {
    let (tell, told) = mpsc::channel();
    let address = address.reachable();
    // Connecting to a Unix socket knows no deadline. So a thread does it, which may end
    // with the process.
    spawn("ask", move || drop(tell.send(connect_and_ask(&address))))?;

    told.recv_timeout(MAX_WAIT).unwrap_or_else(|_| {
        let message = format!("no answer within {} s", MAX_WAIT.as_secs());
        Err(io::Error::new(io::ErrorKind::TimedOut, message))
    })
}

fn connect_and_ask(address: &Listen) -> io::Result<()> {
    match address {
        Listen::Tcp(address) => {
            let stream = TcpStream::connect_timeout(address, TIMEOUT)?;
            stream.set_read_timeout(Some(TIMEOUT))?;
            stream.set_write_timeout(Some(TIMEOUT))?;
            ask_for_health(stream)
        }
        Listen::Unix(path) => {
            let stream = UnixStream::connect(path)?;
            stream.set_read_timeout(Some(TIMEOUT))?;
            stream.set_write_timeout(Some(TIMEOUT))?;
            ask_for_health(stream)
        }
    }
}

fn ask_for_health(mut stream: impl Read + Write) -> io::Result<()> {
    stream.write_all(b"GET /healthz HTTP/1.0\r\n\r\n")?;
    let mut status = [0; 12];
    stream.read_exact(&mut status)?;

    if &status == b"HTTP/1.1 200" {
        Ok(())
    } else {
        Err(io::Error::other("an answer that is not 200"))
    }
}
