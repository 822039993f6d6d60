//! `fleetbeat-agent doctor` before each thing that can be wrong, over real sockets.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use fleetbeat_tools::process::program;
use fleetbeat_tools::server::{AGENT_KEY, FleetbeatServer};
use fleetbeat_tools::stand_in::{Authority, StandIn};
use fleetbeat_tools::wait::wait_for;
use socket2::{Domain, Socket, Type};
use tempfile::TempDir;

/// The years in which most certificates of the tests are valid.
const YEARS: std::ops::Range<i32> = 2020..2100;

/// A host that is well, but for the damage that a test does.
struct Host {
    folder: TempDir,
    key: &'static str,
}

/// What the doctor printed.
struct Report {
    is_well: bool,
    text: String,
}

impl Host {
    /// A host whose server is at `url`; `settings` go to the end of the configuration.
    fn new(url: &str, settings: &str) -> Host {
        let folder = tempfile::tempdir().unwrap();
        let spool = folder.path().join("spool");
        fs::create_dir(&spool).unwrap();
        let text = format!(
            "[spool]\npath = {spool:?}\n[collectors.ram]\n[server]\nurl = \"{url}\"\n{settings}\n"
        );
        fs::write(folder.path().join("agent.toml"), text).unwrap();
        Host {
            folder,
            key: AGENT_KEY,
        }
    }

    /// A host that trusts the authority, with a server called `name`.
    fn trusting(authority: &Authority, name: &str, stand_in: &StandIn) -> Host {
        let host =
            Host::new(&format!("https://{name}:{}", stand_in.address().port()), "");
        let ca = host.folder.path().join("ca.pem");
        fs::write(&ca, authority.pem()).unwrap();
        host.append(&format!("ca_file = {ca:?}\n"));
        host
    }

    fn append(&self, settings: &str) {
        let path = self.folder.path().join("agent.toml");
        fs::write(&path, fs::read_to_string(&path).unwrap() + settings).unwrap();
    }

    fn command(&self) -> Command {
        let mut command = program("fleetbeat-agent");
        command
            .arg("-c")
            .arg(self.folder.path().join("agent.toml"))
            .arg("doctor");
        command.env("AGENT_API_KEY", self.key);
        command
    }

    fn examine(&self) -> Report {
        Report::of(&mut self.command())
    }
}

impl Report {
    fn of(command: &mut Command) -> Report {
        let started = Instant::now();
        let output = command.output().unwrap();
        assert!(
            started.elapsed() < Duration::from_secs(20),
            "{:?}",
            started.elapsed()
        );

        let text = String::from_utf8(output.stdout).unwrap();
        assert!(!text.contains(AGENT_KEY));
        Report {
            is_well: output.status.success(),
            text,
        }
    }

    /// The state and text of each check with that name.
    fn check(&self, name: &str) -> (&str, &str) {
        let mut lines = self.text.lines().filter_map(|line| {
            let (state, rest) = line.split_once(' ')?;
            let text = rest.trim_start().strip_prefix(name)?;
            text.starts_with(' ').then(|| (state, text.trim_start()))
        });
        lines
            .next()
            .unwrap_or_else(|| panic!("no {name} in {}", self.text))
    }

    /// Asserts that the check fails, says what is wrong and what to do, and leaves the
    /// later checks impossible.
    #[track_caller]
    fn assert_fails(&self, name: &str, what: &str, advice: &str, skipped: &[&str]) {
        let (state, text) = self.check(name);
        assert!(state == "failed" && text.contains(what), "{}", self.text);
        let told = self
            .text
            .lines()
            .skip_while(|line| !line.ends_with(text))
            .nth(1)
            .unwrap_or_default()
            .trim();
        assert!(
            told.starts_with("-> ") && told.contains(advice),
            "{}",
            self.text
        );
        for other in skipped {
            assert_eq!(
                self.check(other),
                ("skipped", &*format!("needs {name}")),
                "{}",
                self.text
            );
        }
        assert_eq!(
            self.text.matches("skipped").count(),
            skipped.len(),
            "{}",
            self.text
        );
        assert!(!self.is_well);
    }
}

fn url(address: SocketAddr) -> String {
    format!("http://{address}")
}

#[test]
fn a_host_that_is_well_is_told_so_and_the_server_does_not_know_it_afterwards() {
    let server = FleetbeatServer::start();
    let authority = Authority::new();
    let stand_in =
        StandIn::with_tls(&authority.certify("localhost", YEARS), server.address());
    let host = Host::trusting(&authority, "localhost", &stand_in);
    let report = host.examine();
    let states: Vec<_> = report
        .text
        .lines()
        .filter_map(|line| Some(line.get(..30)?.trim_end()))
        .collect();
    let names = [
        "configuration",
        "dns",
        "tcp",
        "tls",
        "key",
        "clock",
        "collector ram",
        "identity",
        "heartbeat",
        "spool",
    ];
    assert_eq!(
        states,
        names.map(|name| format!("ok       {name}")),
        "{}",
        report.text
    );
    assert!(report.is_well);
    assert!(
        report
            .check("tcp")
            .1
            .contains(&format!("{} (IPv4) answers in", stand_in.address())),
        "{}",
        report.text
    );
    assert_eq!(server.servers(&server.admin_token()).len(), 0);
}

#[test]
fn a_wrong_configuration_is_told_with_every_problem() {
    let host = Host::new("ftp://x", "proxy = 3\n");
    let report = host.examine();
    let checks = [
        "dns",
        "tcp",
        "tls",
        "key",
        "clock",
        "collectors",
        "identity",
        "heartbeat",
        "spool",
    ];
    let (state, text) = report.check("configuration");
    assert!(
        state == "failed" && text.contains("agent.toml:5: server.url: must be a URL"),
        "{}",
        report.text
    );
    assert!(
        report.text.contains("agent.toml:6: server.proxy: must be"),
        "{}",
        report.text
    );
    assert!(
        checks
            .iter()
            .all(|name| report.check(name) == ("skipped", "needs configuration")),
        "{}",
        report.text
    );
    assert!(!report.is_well);
}

#[test]
fn a_name_that_nobody_knows() {
    let report = Host::new("https://no-such-host.invalid", "").examine();
    report.assert_fails(
        "dns",
        "no-such-host.invalid",
        "resolv.conf",
        &["tcp", "tls", "key", "clock"],
    );
}

#[test]
fn a_port_that_nobody_listens_on() {
    let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .unwrap()
        .local_addr()
        .unwrap();
    let report = Host::new(&url(free), "").examine();
    report.assert_fails(
        "tcp",
        &format!("{free} (IPv4) does not"),
        "nothing listens",
        &["tls", "key", "clock"],
    );
}

#[test]
fn packets_that_vanish() {
    // A full queue of connections that nobody accepts: the kernel drops further
    // connections.
    let hole = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    hole.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into())
        .unwrap();
    hole.listen(0).unwrap();
    let address = hole.local_addr().unwrap().as_socket().unwrap();
    let _filling = TcpStream::connect(address).unwrap();
    let report = Host::new(&url(address), "").examine();
    report.assert_fails("tcp", "timed out", "vanishes", &["tls", "key", "clock"]);
}

#[test]
fn of_two_addresses_the_one_that_answers_is_named() {
    let server = FleetbeatServer::start();
    let report =
        Host::new(&format!("http://localhost:{}", server.address().port()), "").examine();
    let (state, text) = report.check("tcp");
    assert!(
        state == "ok" && text.contains("127.0.0.1") && text.contains("(IPv4) answers in"),
        "{}",
        report.text
    );
    assert!(
        !text.contains("::1") || text.contains("(IPv6) does not"),
        "{}",
        report.text
    );
}

#[test]
fn certificates_that_are_no_good() {
    let server = FleetbeatServer::start();
    let (ours, another) = (Authority::new(), Authority::new());
    let rest = ["key", "clock"];
    for (certificate, what, advice) in [
        (
            another.certify("localhost", YEARS),
            "does not know",
            "server.ca_file",
        ),
        (
            ours.certify("fleet.example.com", YEARS),
            "for fleet.example.com, not for localhost",
            "server.url",
        ),
        (
            ours.certify("localhost", 2020..2021),
            "has expired on 2021-01-01T00:00:00Z",
            "this host's clock",
        ),
        (
            ours.certify("localhost", 2099..2100),
            "is not valid before 2099-01-01",
            "this host's clock",
        ),
    ] {
        let stand_in = StandIn::with_tls(&certificate, server.address());
        Host::trusting(&ours, "localhost", &stand_in)
            .examine()
            .assert_fails("tls", what, advice, &rest);
    }

    let stand_in = StandIn::with_tls(&ours.certify("localhost", YEARS), server.address());
    let host = Host::new(
        &format!("https://localhost:{}", stand_in.address().port()),
        "",
    );
    host.examine().assert_fails(
        "tls",
        "does not know",
        "name its certificate in server.ca_file",
        &rest,
    );
}

/// A server that openssl plays, because nothing else offers what is out of date.
struct OpenSsl {
    server: std::process::Child,
    port: u16,
    folder: TempDir,
}

impl OpenSsl {
    /// A server called localhost. openssl makes its key with the arguments `key`, and an
    /// authority signs its certificate with the hash `hash`.
    fn start(key: &[&str], hash: &str) -> OpenSsl {
        let folder = tempfile::tempdir().unwrap();
        let name = folder.path().join("name");
        fs::write(&name, "subjectAltName=DNS:localhost\n").unwrap();
        let run = |arguments: &[&str]| {
            let output = Command::new("openssl")
                .args(arguments)
                .current_dir(folder.path())
                .output()
                .expect("openssl");
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{arguments:?}: {said}");
        };
        let new = ["req", "-nodes", "-newkey"];
        let ca = [
            "-x509", "-subj", "/CN=ca", "-keyout", "ca.key", "-out", "ca.pem",
        ];
        run(&[&new[..], &["rsa:2048"], &ca].concat());
        let own = [
            "-subj",
            "/CN=localhost",
            "-keyout",
            "k.key",
            "-out",
            "k.csr",
        ];
        run(&[&new[..], key, &own].concat());
        run(&[
            "x509",
            "-req",
            "-in",
            "k.csr",
            "-CA",
            "ca.pem",
            "-CAkey",
            "ca.key",
            "-CAcreateserial",
            "-out",
            "k.pem",
            "-extfile",
            "name",
            hash,
        ]);

        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = free.local_addr().unwrap().port();
        drop(free);
        let server = Command::new("openssl")
            .args(["s_server", "-quiet", "-cipher", "DEFAULT@SECLEVEL=0"])
            .args([
                "-cert",
                "k.pem",
                "-key",
                "k.key",
                "-accept",
                &port.to_string(),
            ])
            .current_dir(folder.path())
            .stdin(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
            .expect("openssl");
        wait_for("openssl to listen", || {
            TcpStream::connect((Ipv4Addr::LOCALHOST, port)).ok()
        });
        OpenSsl {
            server,
            port,
            folder,
        }
    }

    /// A host that trusts the server's authority.
    fn host(&self) -> Host {
        let ca = self.folder.path().join("ca.pem");
        let url = format!("https://localhost:{}", self.port);
        Host::new(&url, &format!("ca_file = {ca:?}\n"))
    }
}

impl Drop for OpenSsl {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

#[test]
fn certificates_that_are_out_of_date() {
    for (key, hash, what, advice) in [
        (
            "rsa:1024",
            "-sha256",
            "too short: RSA with 1024 bits",
            "2048 bits",
        ),
        ("rsa:2048", "-sha1", "is signed with SHA-1", "SHA-256"),
    ] {
        let server = OpenSsl::start(&[key], hash);
        let report = server.host().examine();
        report.assert_fails("tls", what, advice, &["key", "clock"]);
    }
}

#[test]
fn a_port_without_tls() {
    let authority = Authority::new();
    let stand_in = StandIn::start(|mut stream| {
        let _ =
            std::io::Write::write_all(&mut stream, b"HTTP/1.1 400 Bad Request\r\n\r\n");
    });

    let host = Host::trusting(&authority, "localhost", &stand_in);
    host.examine().assert_fails(
        "tls",
        "does not speak TLS",
        "is the port in server.url right",
        &["key", "clock"],
    );

    let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let host = Host::new(&format!("https://{}", silent.local_addr().unwrap()), "");
    host.examine().assert_fails(
        "tls",
        "has not shaken hands in 5s",
        "does it speak TLS",
        &["key", "clock"],
    );
}

#[test]
fn a_wrong_key_and_a_missing_one() {
    let server = FleetbeatServer::start();
    let mut host = Host::new(&url(server.address()), "");
    host.key = "another";
    let report = host.examine();
    report.assert_fails("key", "does not know it (401)", "restart the agent", &[]);
    assert_eq!(report.check("clock").0, "ok");
    let report = Report::of(host.command().env_remove("AGENT_API_KEY"));
    report.assert_fails("key", "there is none", "agent.env", &[]);
}

#[test]
fn a_key_that_the_server_does_not_take_from_this_host() {
    const OWN: &str = "fbk_00000000000000000000000000000001_\
        0000000000000000000000000000000000000000000000000000000000000000";
    let server = FleetbeatServer::start();
    let mut host = Host::new(&url(server.address()), "");
    host.key = OWN;
    let report = host.examine();
    report.assert_fails("key", "answer 401", "enroll gets the host another one", &[]);

    let problem = r#"{"status":401,"title":"t","detail":"own keys alone",
        "request_id":"r","code":"own_key_needed"}"#;
    let strict = StandIn::answering(format!(
        "HTTP/1.1 401 Unauthorized\r\nContent-Type: application/problem+json\r\n\
         Content-Length: {}\r\n\r\n{problem}",
        problem.len()
    ));
    let report = Host::new(&url(strict.address()), "").examine();
    report.assert_fails("key", "own keys alone", "a key of its own", &[]);
}

#[test]
fn a_proxys_login_is_not_the_servers_word_about_the_key() {
    let page = "<html>401</html>";
    for (headers, scheme) in [
        (
            "WWW-Authenticate: Basic realm=\"x\"\r\n",
            "WWW-Authenticate: Basic",
        ),
        ("", "(401)"),
    ] {
        let stand_in = StandIn::answering(format!(
            "HTTP/1.1 401 Unauthorized\r\nContent-Type: text/html\r\n{headers}\
             Content-Length: {}\r\n\r\n{page}",
            page.len()
        ));
        let report = Host::new(&url(stand_in.address()), "").examine();
        let (_, text) = report.check("key");
        assert!(text.contains(scheme), "{}", report.text);
        report.assert_fails("clock", "no date", "Date header", &[]);
        assert!(
            text.contains("something before fleetbeat-server wants a login"),
            "{}",
            report.text
        );
    }
}

#[test]
fn servers_that_are_another_or_not_well() {
    let answer = |status: u16, headers: &str, body: &str| {
        let date = jiff::Timestamp::now().strftime("%a, %d %b %Y %H:%M:%S GMT");
        format!(
            "HTTP/1.1 {status} X\r\nDate: {date}\r\nContent-Length: {}\r\n{headers}\r\n{body}",
            body.len()
        )
    };

    for (answer, what, advice) in [
        (
            answer(200, "", "<html>hello</html>"),
            "not fleetbeat-server's: answer 200",
            "server's own URL",
        ),
        (
            answer(404, "", ""),
            "not fleetbeat-server's: answer 404",
            "server's own URL",
        ),
        (
            answer(308, "Location: https://elsewhere.example\r\n", ""),
            "leads to https://elsewhere.example",
            "follows no redirect",
        ),
        (
            answer(502, "", ""),
            "cannot tell now: answer 502",
            "/readyz",
        ),
    ] {
        let stand_in = StandIn::answering(answer);
        Host::new(&url(stand_in.address()), "")
            .examine()
            .assert_fails("key", what, advice, &[]);
    }

    let broken = StandIn::answering("nonsense\r\n\r\n".to_owned());
    Host::new(&url(broken.address()), "")
        .examine()
        .assert_fails("key", "broke off", "speaks HTTP", &["clock"]);
}

#[test]
fn a_clock_that_is_minutes_off() {
    let served = |date: &str| {
        let body = r#"{"status":"ok","accepted":0,"rejected":[]}"#;
        StandIn::answering(format!(
            "HTTP/1.1 200 OK\r\n{date}Content-Length: {}\r\n\r\n{body}",
            body.len()
        ))
    };

    for (minutes, what) in [(-5_i64, "4 minutes ahead of"), (5, "4 minutes behind")] {
        // A few seconds less than a whole minute more, as the test takes some.
        let date = jiff::Timestamp::now()
            + jiff::SignedDuration::from_secs(minutes * 60 - minutes.signum() * 15);
        let stand_in = served(&format!(
            "Date: {}\r\n",
            date.strftime("%a, %d %b %Y %H:%M:%S GMT")
        ));
        // The server takes live heartbeats all the same.
        let report = Host::new(&url(stand_in.address()), "").examine();
        let (state, text) = report.check("clock");
        assert!(state == "warning" && text.contains(what), "{}", report.text);
        assert!(report.is_well && report.text.contains("timedatectl"));
    }

    let stand_in = served("");
    Host::new(&url(stand_in.address()), "")
        .examine()
        .assert_fails("clock", "no date", "Date header", &[]);
}

#[test]
fn a_proxy_is_where_the_way_begins() {
    let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .unwrap()
        .local_addr()
        .unwrap();
    let report = Host::new(
        "https://no-such-host.invalid",
        &format!("proxy = \"http://{free}\""),
    )
    .examine();
    assert_eq!(
        report.check("dns"),
        ("ok", "the proxy 127.0.0.1 is an address already")
    );
    report.assert_fails(
        "tcp",
        &free.to_string(),
        "server.proxy",
        &["tls", "key", "clock"],
    );

    let proxy = StandIn::answering("HTTP/1.1 403 Forbidden\r\n\r\n".to_owned());
    let report = Host::new(
        "https://no-such-host.invalid",
        &format!("proxy = \"http://{}\"", proxy.address()),
    )
    .examine();
    report.assert_fails(
        "tls",
        "the proxy does not let the call through",
        "CONNECT",
        &["key", "clock"],
    );
}

/// A proxy that drips is named in time, and so is one that is no proxy.
#[test]
fn a_proxy_that_answers_nonsense_is_named() {
    let proxy = StandIn::answering("nonsense\r\n\r\n".to_owned());
    let report = Host::new(
        "https://no-such-host.invalid",
        &format!("proxy = \"http://{}\"", proxy.address()),
    )
    .examine();
    let (state, text) = report.check("tls");
    assert!(
        state == "failed" && text.contains("proxy"),
        "{}",
        report.text
    );
}

/// Whatever a command prints has no power over root's terminal.
#[test]
fn what_other_programs_print_is_shown_without_control_characters() {
    let server = FleetbeatServer::start();
    let folder = tempfile::tempdir().unwrap();
    let text = "up{x=\"\u{1b}[2J\u{202e}\"} 1\n";
    fs::write(folder.path().join("a.prom"), text).unwrap();
    let settings = format!("[collectors.textfile]\nfolder = {:?}\n", folder.path());
    let report = Host::new(&url(server.address()), &settings).examine();
    assert!(
        !report.text.contains(['\u{1b}', '\u{202e}'])
            && report
                .check("collector textfile")
                .1
                .contains("\\u{1b}[2J\\u{202e}"),
        "{}",
        report.text
    );
}

#[test]
fn a_collector_that_fails_hides_no_other() {
    let server = FleetbeatServer::start();
    let host = Host::new(
        &url(server.address()),
        "[collectors.net]\ninterface = \"nowhere0\"\n",
    );
    let report = host.examine();
    report.assert_fails("collector net", "nowhere0", "collectors.net", &[]);
    assert!(
        report.check("collector ram").1.ends_with(" %"),
        "{}",
        report.text
    );
}

/// What a heartbeat can do without is a warning, and no reason to stop a rollout.
#[test]
fn warnings_leave_the_host_well() {
    let server = FleetbeatServer::start();
    let folder = tempfile::tempdir().unwrap();
    let net = folder.path().join("class/net/eth0");
    fs::create_dir_all(net.join("statistics")).unwrap();
    for (file, text) in [
        ("speed", "-1"),
        ("statistics/rx_bytes", "0"),
        ("statistics/tx_bytes", "0"),
    ] {
        fs::write(net.join(file), text).unwrap();
    }
    let metrics: String = (0..100).map(|n| format!("many_{n:03} 1\n")).collect();
    fs::write(folder.path().join("many.prom"), metrics).unwrap();
    let settings = format!(
        "[paths]\nsys = {0:?}\n[collectors.net]\ninterface = \"eth0\"\n\
         [collectors.textfile]\nfolder = {0:?}\n[collectors.exec]\ncommands = [\n\
         {{name = \"a\", run = [\"/bin/sh\", \"-c\", \"echo 'sudo: no' >&2; exit 3\"]}},\n\
         {{name = \"b\", run = [\"/bin/echo\", \"jobs 1\"]}} ]\n",
        folder.path()
    );

    let report = Host::new(&url(server.address()), &settings).examine();
    let warns = |name: &str, what: &str| {
        let (state, text) = report.check(name);
        assert!(state == "warning" && text.contains(what), "{}", report.text);
    };
    warns("collector net", "set speed_mbps");
    warns(
        "collector exec",
        "a: /bin/sh ended with exit status: 3: sudo: no",
    );
    warns(
        "heartbeat",
        "more metrics than a heartbeat may carry are left out: many_0",
    );
    assert!(
        report.is_well && !report.text.contains("failed"),
        "{}",
        report.text
    );
}

#[test]
fn what_was_left_in_the_spool_by_another_user() {
    let server = FleetbeatServer::start();
    let host = Host::new(&url(server.address()), "");
    let file = host.folder.path().join("spool/spool");
    fs::write(&file, "").unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o400)).unwrap();
    // In a user namespace without any user, even root is bound by permissions.
    let agent = host.command();
    let mut command = Command::new("unshare");
    command
        .arg("--user")
        .arg(agent.get_program())
        .args(agent.get_args())
        .env("AGENT_API_KEY", AGENT_KEY);
    let report = Report::of(&mut command);
    report.assert_fails("spool", "Permission denied", "chown -R --reference", &[]);
}

#[test]
fn a_spool_folder_that_cannot_be_used() {
    let server = FleetbeatServer::start();
    let host = Host::new(&url(server.address()), "");
    let spool = host.folder.path().join("spool");
    let mode =
        |mode| fs::set_permissions(&spool, fs::Permissions::from_mode(mode)).unwrap();
    // In a user namespace without any user, even root is bound by permissions, its own
    // files' too.
    mode(0o500);
    let agent = host.command();
    let mut command = Command::new("unshare");
    command
        .arg("--user")
        .arg(agent.get_program())
        .args(agent.get_args())
        .env("AGENT_API_KEY", AGENT_KEY);
    Report::of(&mut command).assert_fails(
        "spool",
        "Permission denied",
        "install -d",
        &[],
    );
    mode(0o700);
    assert_eq!(Report::of(&mut command).check("spool").0, "ok");

    fs::remove_dir(&spool).unwrap();
    host.examine().assert_fails(
        "spool",
        "No such file or directory",
        "StateDirectory",
        &[],
    );
    fs::write(&spool, "").unwrap();
    host.examine()
        .assert_fails("spool", "not a directory", "StateDirectory", &[]);
}

#[test]
fn a_full_disk_is_seen_before_it_is_needed() {
    let server = FleetbeatServer::start();
    let host = Host::new(&url(server.address()), "");
    let spool = host.folder.path().join("spool");
    let agent = host.command();
    let mut command = Command::new("unshare");
    let script = format!(
        "mount -t tmpfs -o size=2m none {} && exec \"$0\" \"$@\"",
        Path::new(&spool).display()
    );
    command
        .args(["--map-root-user", "--mount", "sh", "-c", &script])
        .arg(agent.get_program())
        .args(agent.get_args());
    command.env("AGENT_API_KEY", AGENT_KEY);
    Report::of(&mut command).assert_fails("spool", "has 2 MiB left", "make room", &[]);
}
