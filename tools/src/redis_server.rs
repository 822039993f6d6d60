//! A Redis of the test's own, which it may stop, freeze and empty.

use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::{Command, Stdio};

use tempfile::TempDir;

use crate::process::Running;
use crate::wait::wait_for;

/// A redis-server process; dropping it kills it.
pub struct RedisServer {
    port: u16,
    folder: TempDir,
    process: Option<Running>,
}

impl RedisServer {
    /// Starts one.
    ///
    /// # Panics
    /// If it does not come up.
    pub fn start() -> RedisServer {
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .and_then(|listener| listener.local_addr());
        let port = free.expect("a free port").port();
        let mut server = RedisServer {
            port,
            folder: tempfile::tempdir().expect("a temporary folder"),
            process: None,
        };
        server.restart();
        server
    }

    /// Its URL.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Starts it again, empty.
    ///
    /// # Panics
    /// If it does not come up.
    pub fn restart(&mut self) {
        let mut command = Command::new("redis-server");
        command.args([
            "--bind",
            "127.0.0.1",
            "--save",
            "",
            "--appendonly",
            "no",
            "--port",
            &self.port.to_string(),
        ]);
        command
            .arg("--dir")
            .arg(self.folder.path())
            .stdout(Stdio::null())
            .stdin(Stdio::null());
        self.process = Some(Running::spawn(&mut command));
        wait_for("Redis", || {
            TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).ok()
        });
    }

    /// Kills it.
    pub fn stop(&mut self) {
        self.process = None;
    }

    /// Lets it hang, with all it holds.
    ///
    /// # Panics
    /// If it does not run.
    pub fn freeze(&self) {
        self.process.as_ref().expect("Redis runs").signal("STOP");
    }

    /// Lets it go on where it was.
    ///
    /// # Panics
    /// If it does not run.
    pub fn thaw(&self) {
        self.process.as_ref().expect("Redis runs").signal("CONT");
    }

    /// A connection to it.
    ///
    /// # Panics
    /// If there is none.
    pub fn connect(&self) -> redis::Connection {
        redis::Client::open(self.url())
            .and_then(|client| client.get_connection())
            .expect("Redis answers")
    }
}
