//! A real nginx with a test's own sites.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Command, Stdio};

use tempfile::TempDir;

use crate::client;
use crate::process::Running;
use crate::wait::wait_for;

/// A running nginx; dropping the value kills nginx.
pub struct Nginx {
    process: Running,
    folder: TempDir,
}

impl Nginx {
    /// Starts nginx with `sites`, the content of nginx's `http` block, and waits until
    /// nginx listens on `address`. There is a single process, so that nothing outlives
    /// the value.
    ///
    /// # Panics
    /// If nginx is not installed, refuses the sites, or does not come up.
    pub fn start(sites: &str, address: SocketAddr) -> Nginx {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().display();
        let config = format!(
            "daemon off; master_process off; pid {path}/pid; error_log {path}/error.log;\nevents {{}}\n\
             http {{ access_log {path}/access.log; client_body_temp_path {path}/body; \
             proxy_temp_path {path}/proxy; fastcgi_temp_path {path}/fastcgi; uwsgi_temp_path {path}/uwsgi; \
             scgi_temp_path {path}/scgi;\n{sites}}}\n"
        );
        let file = folder.path().join("nginx.conf");
        fs::write(&file, config).expect("a writable folder");

        let program = if Path::new("/usr/sbin/nginx").exists() {
            "/usr/sbin/nginx"
        } else {
            "nginx"
        };
        let mut command = Command::new(program);
        command
            .args(["-e", "stderr", "-c"])
            .arg(file)
            .stdin(Stdio::null());

        let process = Running::spawn(&mut command);
        wait_for("nginx", || client::connect(address).ok());
        Nginx { process, folder }
    }

    /// The access log, a request a line.
    pub fn access_log(&self) -> String {
        fs::read_to_string(self.folder.path().join("access.log")).unwrap_or_default()
    }

    /// Lets nginx end its work, and waits for the end.
    pub fn stop(mut self) {
        self.process.signal("QUIT");
        self.process.wait();
    }
}

/// An address on loopback where nobody listens.
///
/// # Panics
/// If there is no free port.
pub fn free_address() -> SocketAddr {
    let listener =
        TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has a free port");
    listener.local_addr().expect("a listener has an address")
}
