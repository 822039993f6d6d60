//! A host in a network namespace of its own. It needs root.

use std::fs;
use std::os::fd::AsFd;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use fleetbeat_tools::process::Running;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use serde_json::Value;
use tempfile::TempDir;

use crate::agent::agent_command;

/// A network without anything but loopback, and its own /etc/hosts, /etc/resolv.conf and
/// /etc/machine-id.
pub(crate) struct Host {
    namespace: String,
    etc: TempDir,
}

impl Host {
    pub(crate) fn new() -> Host {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let host = Host {
            namespace: format!("fleetbeat-id{}-{count}", std::process::id()),
            etc: tempfile::tempdir().unwrap(),
        };
        ip(&format!("netns add {}", host.namespace));
        host.ip("link set lo up");
        host.ip("link add d0 type veth peer name d1");
        host.ip("link set d0 up");
        host.ip("link set d1 up");
        host.write("hosts", "127.0.0.1 localhost\n");
        host.write("resolv.conf", "");
        host.write("machine-id", "00000000000000000000000000000001\n");
        host
    }

    /// A host with an address, whose way to everywhere begins there.
    pub(crate) fn with_address(address: &str) -> Host {
        let host = Host::new();
        host.ip(&format!("address add {address} dev d0"));
        host.ip("route add default dev d0");
        host
    }

    /// Runs `ip` there, and gives what it prints.
    #[track_caller]
    pub(crate) fn ip(&self, line: &str) -> String {
        ip(&format!("-n {} {line}", self.namespace))
    }

    /// What `open` opens, in this host's network.
    pub(crate) fn open<T: Send>(&self, open: impl FnOnce() -> T + Send) -> T {
        let path = format!("/run/netns/{}", self.namespace);
        let namespace = fs::File::open(path).unwrap();
        // The network is the thread's own, so the thread ends with it.
        let enter_and_open = || {
            let kind = Some(LinkNameSpaceType::Network);
            move_into_link_name_space(namespace.as_fd(), kind).unwrap();
            open()
        };
        thread::scope(|scope| scope.spawn(enter_and_open).join().unwrap())
    }

    pub(crate) fn set(&self, name: &str, value: &str) {
        let status = Command::new("ip")
            .args(["netns", "exec", &self.namespace, "sysctl", "-qw"])
            .arg(format!("{name}={value}"))
            .status();
        assert!(status.unwrap().success(), "{name}");
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        fs::write(self.etc.path().join(name), text).unwrap();
    }

    /// The agent with these settings, on this host.
    fn command(&self, settings: &TempDir) -> Command {
        let agent = agent_command(settings);
        let script = "mount --bind \"$0/hosts\" /etc/hosts && \
                      mount --bind \"$0/resolv.conf\" /etc/resolv.conf && \
                      mount --bind \"$0/machine-id\" /etc/machine-id && exec \"$@\"";
        let mut command = Command::new("ip");
        command
            .args(["netns", "exec", &self.namespace, "unshare", "--mount"])
            .args(["--propagation", "private", "sh", "-c", script])
            .arg(self.etc.path())
            .arg(agent.get_program())
            .args(agent.get_args());
        for (name, value) in agent.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        command
    }

    pub(crate) fn once(&self, settings: &TempDir) -> Value {
        let output = self.command(settings).arg("once").output().unwrap();
        let told = String::from_utf8_lossy(&output.stderr);
        serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{told}"))
    }

    pub(crate) fn run(&self, settings: &TempDir) -> Running {
        let log = fs::File::create(settings.path().join("log")).unwrap();
        Running::spawn(self.command(settings).stdin(Stdio::null()).stderr(log))
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let words = ["netns", "delete", &self.namespace];
        let _ = Command::new("ip").args(words).status();
    }
}

#[track_caller]
fn ip(line: &str) -> String {
    let output = Command::new("ip").args(line.split_whitespace()).output();
    let output = output.expect("ip of iproute2");
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "ip {line}: {}: run this as root",
        told.trim()
    );
    String::from_utf8(output.stdout).unwrap()
}
