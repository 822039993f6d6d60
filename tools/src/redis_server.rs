//! A test's own Redis, which the test may stop, freeze and empty.

use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::{Command, Stdio};

use tempfile::TempDir;

use crate::process::Running;
use crate::wait::wait_for;

/// A redis-server process; dropping the value kills the process.
pub struct RedisServer {
    port: u16,
    folder: TempDir,
    process: Option<Running>,
}

impl RedisServer {
    /// Starts Redis.
    ///
    /// # Panics
    /// If Redis does not come up.
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

    /// The URL.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Starts Redis again, empty.
    ///
    /// # Panics
    /// If Redis does not come up.
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

    /// Kills Redis.
    pub fn stop(&mut self) {
        self.process = None;
    }

    /// Lets Redis hang without losing its content.
    ///
    /// # Panics
    /// If Redis does not run.
    pub fn freeze(&self) {
        self.process.as_ref().expect("Redis runs").freeze();
    }

    /// Lets a frozen Redis go on.
    ///
    /// # Panics
    /// If Redis does not run.
    pub fn thaw(&self) {
        self.process.as_ref().expect("Redis runs").signal("CONT");
    }

    /// A connection to Redis.
    ///
    /// # Panics
    /// If Redis does not answer.
    pub fn connect(&self) -> redis::Connection {
        redis::Client::open(self.url())
            .and_then(|client| client.get_connection())
            .expect("Redis answers")
    }
}
