//! What `fleetbeat-server proxy-config nginx` prints, in a real nginx, against hostile
//! and broken peers.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use fleetbeat_tools::client::{self, Answer, encode, read_answer};
use fleetbeat_tools::nginx::{Nginx, free_address};
use fleetbeat_tools::process;
use fleetbeat_tools::process::program;
use fleetbeat_tools::server::{AGENT_KEY, FleetbeatServer, run};
use fleetbeat_tools::wait::wait_for;
use serde_json::json;

const HEARTBEAT: &str = include_str!("../../protocol/golden/heartbeat-minimal.json");

/// A server behind nginx with the site that `proxy-config` prints.
struct Site {
    server: FleetbeatServer,
    address: SocketAddr,
    nginx: Nginx,
}

pub(crate) fn site_of(server: &FleetbeatServer, arguments: &[&str]) -> String {
    let mut command = program("fleetbeat-server");
    command.arg("-c").arg(server.config()).args([
        "proxy-config",
        "nginx",
        "--domain",
        "localhost",
    ]);
    command
        .args(arguments)
        .env("FLEETBEAT_LISTEN", server.address().to_string());
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

impl Site {
    fn start() -> Site {
        let server =
            FleetbeatServer::start_with("trusted_proxies = [\"127.0.0.1\"]\n", &[]);
        let address = free_address();
        let site = site_of(&server, &["--plain", "--listen", &address.to_string()]);
        Site {
            server,
            address,
            nginx: Nginx::start(&site, address),
        }
    }

    fn request(
        &self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Answer {
        client::request(self.address, method, target, headers, body.as_bytes()).unwrap()
    }

    fn send(&self, text: &str) -> TcpStream {
        let mut stream = client::connect(self.address).unwrap();
        stream.write_all(text.as_bytes()).unwrap();
        stream
    }

    #[track_caller]
    fn assert_alive(&mut self) {
        assert!(self.server.is_running(), "{}", self.server.log());
        let answer =
            self.request("POST", "/heartbeat", &[("X-API-Key", AGENT_KEY)], HEARTBEAT);
        assert_eq!(answer.status, 200, "{answer:?}");
    }
}

fn head(headers: &str) -> String {
    format!(
        "POST /heartbeat HTTP/1.1\r\nHost: localhost\r\nX-API-Key: {AGENT_KEY}\r\n{headers}\r\n"
    )
}

#[test]
fn it_is_printed_without_the_secrets_that_serving_needs() {
    let config =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging/compose/server.toml");
    let output = run(
        &config,
        &["proxy-config", "nginx", "--domain", "fleet.example.com"],
        "",
    );
    assert!(output.status.success(), "{output:?}");
    assert!(
        String::from_utf8_lossy(&output.stdout)
            .contains("server_name fleet.example.com;"),
        "{output:?}"
    );
}

#[test]
fn it_is_refused_before_a_server_that_speaks_https_itself() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("server.toml");
    let tls = "listen = \"127.0.0.1:8443\"\n\
               [tls]\ncertificate = \"/c.pem\"\nkey = \"/k.pem\"\n";
    std::fs::write(&config, tls).unwrap();
    let words = ["proxy-config", "nginx", "--domain", "fleet.example.com"];
    let output = run(&config, &words, "");
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && output.stdout.is_empty());
    assert!(told.contains("speaks HTTPS itself"), "{told}");
}

/// The nginx blocks of a section of docs/operating.md.
fn documented(section: &str) -> Vec<String> {
    let docs = include_str!("../../docs/operating.md");
    let (_, text) = docs.split_once(section).unwrap();
    let (text, _) = text.split_once("\n## ").unwrap();
    let blocks = text.split("```nginx\n").skip(1);
    blocks
        .map(|block| block.split("```").next().unwrap().to_owned())
        .collect()
}

#[test]
fn below_a_path_the_documented_site_works_and_limits_logins() {
    let server = FleetbeatServer::start_with("trusted_proxies = [\"127.0.0.1\"]\n", &[]);
    let blocks = documented("## Below a path");
    let [around, inside] = &blocks[..] else {
        panic!("{blocks:?}");
    };
    let around = around.replace(
        "unix:/run/fleetbeat/http.sock",
        &server.address().to_string(),
    );
    let address = free_address();
    let site = format!("{around}server {{ listen {address};\n{inside}}}\n");
    let nginx = Nginx::start(&site, address);

    let send = |method: &str, target: &str, headers: &[(&str, &str)], body: &str| {
        client::request(address, method, target, headers, body.as_bytes()).unwrap()
    };
    let key = [("X-API-Key", AGENT_KEY)];
    assert_eq!(
        send("POST", "/fleet/heartbeat", &key, HEARTBEAT).status,
        200
    );
    assert_eq!(send("GET", "/fleet", &[], "").status, 301);
    // Answered without a password's hash, which a busy machine takes long for.
    let ask = || send("GET", "/fleet/token", &[], "").status;
    let answers: Vec<u16> = (0..40).map(|_| ask()).collect();
    assert!(
        answers.contains(&405) && answers.contains(&429),
        "{answers:?}"
    );
    let log = nginx.access_log();
    assert!(log.contains("/fleet/token HTTP/1.1\" 429"), "{log}");
    nginx.stop();
}

#[test]
fn everything_is_reached_and_addresses_are_the_clients_own() {
    let mut site = Site::start();
    site.assert_alive();
    let token = site.server.admin_token();
    let bearer = format!("Bearer {token}");
    let without_ip = HEARTBEAT.replace("\"ip\": \"1.2.3.4\", ", "");
    let forged = [("X-API-Key", AGENT_KEY), ("X-Forwarded-For", "9.9.9.9")];
    // nginx says loopback, whatever the client claims, and loopback is nobody's address.
    let answer = site.request("POST", "/heartbeat", &forged, &without_ip);
    assert_eq!(answer.status, 422, "{answer:?}");
    assert_eq!(
        site.request("GET", "/server/9.9.9.9", &[("Authorization", &bearer)], "")
            .status,
        404
    );
    let answer = site.request("POST", "/heartbeat", &forged, HEARTBEAT);
    assert_eq!(answer.status, 200, "{answer:?}");
    let target = "/server/1.2.3.4";
    let answer = site.request("GET", target, &[("Authorization", &bearer)], "");
    assert_eq!(answer.json()["observed_ip"], "127.0.0.1", "{answer:?}");

    let page = site.request("GET", "/", &[], "");
    assert!(
        page.status == 200 && String::from_utf8_lossy(&page.body).contains("<html"),
        "{page:?}"
    );

    let batch = format!("[{}]", vec![HEARTBEAT; 500].join(","));
    let answer = site.request("POST", "/heartbeats", &[("X-API-Key", AGENT_KEY)], &batch);
    assert_eq!(answer.status, 200, "{answer:?}");
    wait_for("the log", || {
        site.nginx
            .access_log()
            .contains("GET / HTTP/1.1")
            .then_some(())
    });
    assert!(
        !site.nginx.access_log().contains("/heartbeat"),
        "{}",
        site.nginx.access_log()
    );
    site.nginx.stop();
}

#[test]
fn absurd_and_contradictory_framing_never_reaches_the_server() {
    let mut site = Site::start();
    for (headers, statuses) in [
        ("Content-Length: 9223372036854775807\r\n", [413, 400]),
        ("Content-Length: 18446744073709551616\r\n", [413, 400]),
        ("Content-Length: -1\r\n", [400, 400]),
        ("Content-Length: 2000000\r\n", [413, 413]),
        ("Content-Length: 5\r\nContent-Length: 6\r\n", [400, 400]),
        (
            "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
            [400, 400],
        ),
        ("Transfer-Encoding: gzip, chunked\r\n", [501, 400]),
    ] {
        let mut stream = site.send(&(head(headers) + "hello"));
        let status = read_answer(&mut stream)
            .unwrap_or_else(|error| panic!("{headers}: {error}"))
            .status;
        assert!(statuses.contains(&status), "{headers}: {status}");
        site.assert_alive();
    }

    // A chunked body reaches the server whole, and what is inside is no request.
    let smuggled = "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n";
    let chunk = format!("{:x}\r\n{smuggled}\r\n0\r\n\r\n", smuggled.len());
    let mut stream = site.send(&head(&format!(
        "Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n{chunk}"
    )));
    let mut answers = String::new();
    stream.read_to_string(&mut answers).unwrap();
    assert_eq!(answers.matches("HTTP/1.1 ").count(), 1, "{answers}");
    assert!(answers.starts_with("HTTP/1.1 400"), "{answers}");
    site.assert_alive();
    site.nginx.stop();
}

#[test]
fn slow_and_idle_peers_cost_the_server_nothing() {
    let mut site = Site::start();
    site.assert_alive();
    let before = process::status(site.server.pid(), "Threads");
    let slow: Vec<TcpStream> = (0..100)
        .map(|n| match n % 4 {
            0 => site.send("POST /heartbeat HT"),
            1 => site.send(&head("Content-Length: 60000\r\n")),
            2 => site.send(&(head("Transfer-Encoding: chunked\r\n") + "10\r\nhel")),
            _ => site.send("GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"),
        })
        .collect();
    let started = Instant::now();
    for _ in 0..50 {
        site.assert_alive();
    }
    assert!(
        started.elapsed() < Duration::from_secs(5),
        "{:?}",
        started.elapsed()
    );
    assert!(process::status(site.server.pid(), "Threads") <= before + 8);
    // nginx ends the connections by itself: the slow after its ten seconds, the idle
    // after fifteen.
    let deadline = Instant::now() + Duration::from_secs(30);
    for mut stream in slow {
        stream
            .set_read_timeout(Some(deadline.saturating_duration_since(Instant::now())))
            .unwrap();
        let mut rest = Vec::new();
        let ended = stream.read_to_end(&mut rest);
        let timed_out = matches!(&ended, Err(error) if error.kind() == std::io::ErrorKind::WouldBlock);
        assert!(
            !timed_out,
            "nginx kept a peer waiting: {}",
            String::from_utf8_lossy(&rest)
        );
    }
    site.nginx.stop();
}

#[test]
fn a_flood_of_logins_delays_no_heartbeat() {
    let mut site = Site::start();
    let flood: Vec<u16> = (0..40)
        .map(|n| {
            site.request(
                "POST",
                "/token",
                &[],
                &format!("username=nobody{n}&password=wrong-password"),
            )
            .status
        })
        .collect();
    assert!(
        flood.contains(&429) && flood.iter().all(|status| [401, 429].contains(status)),
        "{flood:?}"
    );
    let started = Instant::now();
    site.assert_alive();
    assert!(
        started.elapsed() < Duration::from_secs(1),
        "{:?}",
        started.elapsed()
    );
    site.nginx.stop();
}

#[test]
fn one_address_has_so_many_connections_and_others_have_theirs() {
    let mut site = Site::start();
    let request = String::from_utf8(encode("GET", "/healthz", &[], b"")).unwrap();
    let promise = head("Content-Length: 60000\r\n");
    let held: Vec<TcpStream> = (0..300).map(|_| site.send(&promise)).collect();
    wait_for("nginx to refuse another one", || {
        (read_answer(&mut site.send(&request)).unwrap().status == 503).then_some(())
    });
    // From another address of the same network.
    let other = Command::new("curl")
        .args([
            "-s",
            "-o",
            "/dev/null",
            "-w",
            "%{http_code}",
            "--interface",
            "127.0.0.2",
        ])
        .arg(format!("http://{}/healthz", site.address))
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&other.stdout), "200");
    drop(held);
    wait_for("nginx to take another one", || {
        (read_answer(&mut site.send(&request)).unwrap().status == 200).then_some(())
    });
    site.assert_alive();
    site.nginx.stop();
}

#[test]
fn with_tls_plain_requests_are_sent_away() {
    let server = FleetbeatServer::start_with("trusted_proxies = [\"127.0.0.1\"]\n", &[]);
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name).display().to_string();
    let (certificate, key) = (file("certificate.pem"), file("key.pem"));
    let made = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-days",
            "2",
        ])
        .args([
            "-subj",
            "/CN=localhost",
            "-addext",
            "subjectAltName=DNS:localhost",
        ])
        .args(["-keyout", &key, "-out", &certificate])
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
    let usual = site_of(&server, &["--certificate", &certificate, "--key", &key]);
    let (https, http) = (free_address(), free_address());
    // The usual ports belong to nobody in a test.
    let site = usual
        .replace("listen 443 ssl;", &format!("listen {https} ssl;"))
        .replace("listen [::]:443 ssl;", "")
        .replace("listen 80;", &format!("listen {http};"))
        .replace("listen [::]:80;", "");
    assert!(
        site.contains(&https.to_string()) && site.contains(&http.to_string()),
        "{site}"
    );
    assert!(!site.contains("[::]"), "{site}");
    let nginx = Nginx::start(&site, https);
    let url = format!("https://localhost:{}", https.port());
    let output = Command::new("curl")
        .args([
            "-s",
            "--cacert",
            &certificate,
            "-D",
            "-",
            "-H",
            &format!("X-API-Key: {AGENT_KEY}"),
        ])
        .args(["--data", HEARTBEAT, &format!("{url}/heartbeat")])
        .output()
        .unwrap();
    let answer = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        answer.contains("200 OK") && answer.contains("Strict-Transport-Security"),
        "{answer}"
    );
    assert!(
        answer.ends_with(&json!({"status": "ok"}).to_string()),
        "{answer}"
    );

    let output = Command::new("curl")
        .args([
            "-s",
            "-o",
            "/dev/null",
            "-w",
            "%{http_code} %{redirect_url}",
            "-H",
            "Host: localhost",
        ])
        .arg(format!("http://{http}/servers?sort=cpu"))
        .output()
        .unwrap();
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "301 https://localhost/servers?sort=cpu"
    );
    nginx.stop();
}
