//! Channels to real peers that Debian has: an Alertmanager and a mail server.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use fleetbeat_channels::{
    Channel, ErrorClass, Guard, Message, SendError, Sender, SenderOptions, Settings,
    Smtp, SmtpLogin, SmtpTls,
};
use fleetbeat_tools::client;
use fleetbeat_tools::fake_http::FakeHttp;
use fleetbeat_tools::nginx::free_address;
use fleetbeat_tools::process::Running;
use fleetbeat_tools::server::FleetbeatServer;
use fleetbeat_tools::stand_in::{Authority, Certificate};
use fleetbeat_tools::wait::wait_for;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::alerting::{Hosts, SETTINGS, Scene, eventually, header, name};

const USER: &str = "fleetbeat";
const PASSWORD: &str = "password of the mail";

/// An Alertmanager that runs in a folder of its own.
struct Alertmanager {
    _process: Running,
    _folder: TempDir,
    address: SocketAddr,
}

impl Alertmanager {
    /// Tells `hook` of each group of alerts of one rule.
    fn start(hook: &FakeHttp) -> Alertmanager {
        let folder = tempfile::tempdir().unwrap();
        let config = json!({
            "route": {
                "receiver": "hook", "group_by": ["alertname"], "group_wait": "2s",
                "group_interval": "1s",
            },
            "receivers": [{"name": "hook", "webhook_configs": [{"url": hook.url("/")}]}],
        });
        // JSON is YAML, too.
        let file = folder.path().join("alertmanager.yml");
        fs::write(&file, config.to_string()).unwrap();
        let address = free_address();
        let log = fs::File::create(folder.path().join("log")).unwrap();
        let mut command = Command::new("prometheus-alertmanager");
        command
            .arg(format!("--config.file={}", file.display()))
            .arg(format!("--storage.path={}", folder.path().display()))
            .arg(format!("--web.listen-address={address}"))
            .arg("--cluster.listen-address=")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log);
        let alertmanager = Alertmanager {
            _process: Running::spawn(&mut command),
            _folder: folder,
            address,
        };
        wait_for("Alertmanager", || alertmanager.try_get("/-/ready"));
        alertmanager
    }

    /// The body of an answer 200. By HTTP/1.0, where no answer is chunked.
    fn try_get(&self, target: &str) -> Option<Vec<u8>> {
        let mut stream = client::connect(self.address).ok()?;
        let request = format!("GET {target} HTTP/1.0\r\nHost: localhost\r\n\r\n");
        stream.write_all(request.as_bytes()).ok()?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).ok()?;
        let end = answer.windows(4).position(|part| part == b"\r\n\r\n")?;
        let body = answer.split_off(end + 4);
        answer.starts_with(b"HTTP/1.0 200 ").then_some(body)
    }

    fn get(&self, target: &str) -> Vec<Value> {
        let body = self.try_get(target).unwrap();
        serde_json::from_slice(&body).unwrap()
    }
}

/// A mail server with a mailbox in a folder of its own.
struct MailServer {
    _process: Running,
    folder: TempDir,
    port: u16,
}

impl MailServer {
    /// With a certificate, no mail is taken before STARTTLS; without a login, none at all.
    fn start(certificate: Option<&Certificate>) -> MailServer {
        let folder = tempfile::tempdir().unwrap();
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("e2e/smtpd.py");
        let mut command = Command::new("/usr/bin/python3");
        command
            .arg(script)
            .arg(folder.path().join("mail"))
            .args([USER, PASSWORD])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(fs::File::create(folder.path().join("log")).unwrap());
        for (file, text) in certificate
            .iter()
            .flat_map(|one| [("certificate", &one.pem), ("key", &one.key_pem)])
        {
            let file = folder.path().join(file);
            fs::write(&file, text).unwrap();
            command.arg(file);
        }
        let mut process = Running::spawn(&mut command);
        let told = process.child().stdout.take().unwrap();
        let mut port = String::new();
        BufReader::new(told).read_line(&mut port).unwrap();
        let port = port.trim().parse();
        MailServer {
            _process: process,
            folder,
            port: port.expect("python3-aiosmtpd is installed by make setup"),
        }
    }

    /// The mails that were delivered, the oldest first.
    fn mails(&self) -> Vec<String> {
        let Ok(files) = fs::read_dir(self.folder.path().join("mail/new")) else {
            return Vec::new();
        };
        let mut files: Vec<PathBuf> = files.map(|file| file.unwrap().path()).collect();
        files.sort_by_key(|file| fs::metadata(file).unwrap().modified().unwrap());
        let texts = files.iter().map(|file| fs::read_to_string(file).unwrap());
        texts.map(|text| text.replace("\r\n", "\n")).collect()
    }

    fn smtp(&self, tls: SmtpTls, password: &str) -> Smtp {
        Smtp {
            host: "127.0.0.1".to_owned(),
            port: self.port,
            tls,
            login: Some(SmtpLogin {
                user: USER.to_owned(),
                password: password.to_owned(),
            }),
            from: "fleetbeat@example.org".to_owned(),
        }
    }
}

#[test]
fn a_real_alertmanager_and_a_real_mail_server_are_told() {
    let hook = FakeHttp::start([]);
    let (alertmanager, mail) = (Alertmanager::start(&hook), MailServer::start(None));
    let settings = format!(
        "{SETTINGS}[smtp]\nhost = \"127.0.0.1\"\nport = {}\ntls = \"none\"\n\
         user = \"{USER}\"\nfrom = \"fleetbeat@example.org\"\n",
        mail.port
    );
    let server = FleetbeatServer::start_with(&settings, &[("SMTP_PASSWORD", PASSWORD)]);
    let hosts = Hosts::start(vec![server.address()]);
    let scene = Scene::of(server, hosts);
    let url = format!("http://{}", alertmanager.address);
    scene.channel("alertmanager", &json!({"url": url}));
    scene.channel("email", &json!({"to": ["ops@example.org"]}));
    scene.rule(json!({"when": "down"}));
    scene.hosts.fall_silent(1);
    scene.hosts.fall_silent(2);

    let alerts = eventually("two alerts", || {
        let alerts = alertmanager.get("/api/v2/alerts");
        (alerts.len() == 2).then_some(alerts)
    });
    let mut names: Vec<&str> = alerts
        .iter()
        .map(|alert| alert["labels"]["instance"].as_str().unwrap())
        .collect();
    names.sort_unstable();
    assert_eq!(names, [name(1), name(2)]);
    let labels = &alerts[0]["labels"];
    assert_eq!(labels["alertname"], "a rule of the tests");
    assert_eq!(labels["severity"], "critical");
    let groups = alertmanager.get("/api/v2/alerts/groups");
    assert_eq!(groups.len(), 1, "{groups:?}");
    assert_eq!(groups[0]["alerts"].as_array().unwrap().len(), 2);
    wait_for_news(&hook, "firing");
    eventually("two mails", || (mail.mails().len() == 2).then_some(()));

    scene.hosts.come_back(1);
    scene.hosts.come_back(2);
    wait_for_news(&hook, "resolved");
    assert_eq!(alertmanager.get("/api/v2/alerts"), [Value::Null; 0]);
    let mails = eventually("four mails", || {
        Some(mail.mails()).filter(|mails| mails.len() == 4)
    });
    for host in [1, 2] {
        let about = mails.iter().filter(|mail| mail.contains(&name(host)));
        let about: Vec<&String> = about.collect();
        assert_eq!(about.len(), 2, "{mails:#?}");
        let first = header(about[0], "Message-ID").unwrap();
        assert_eq!(header(about[1], "In-Reply-To"), Some(first));
        assert_eq!(header(about[0], "X-RcptTo"), Some("ops@example.org"));
    }
    assert!(!scene.server.log().contains(PASSWORD));
}

/// Waits until the Alertmanager has told of two alerts in one message.
fn wait_for_news(hook: &FakeHttp, status: &str) {
    eventually(&format!("two alerts that are {status}"), || {
        let told = hook.received().into_iter().map(|told| told.json());
        let mut told = told.filter(|told| told["status"] == status);
        told.any(|told| told["alerts"].as_array().unwrap().len() == 2)
            .then_some(())
    });
}

/// A mail to the server, of somebody who trusts the authority.
fn try_mail(smtp: Smtp, authority: Option<&Authority>) -> Result<(), SendError> {
    let sender = Sender::new(SenderOptions {
        guard: Guard::default(),
        authorities: authority.map(|authority| authority.pem().into_bytes()),
        smtp: Some(smtp),
    });
    let text = json!({"to": ["ops@example.org"]}).to_string();
    let json = serde_json::from_str(&text).unwrap();
    let settings = Settings::from_json("email", &json, None, &Guard::default());
    let message: Message = serde_json::from_value(json!({
        "id": "dlv-00000000000000a1", "kind": "test", "severity": "info",
        "made_at": "2026-11-27T03:06:00Z",
    }))
    .unwrap();
    let channel = Channel::new(&settings.unwrap()).unwrap();
    channel.send(&message, &sender.unwrap()).map(|_| ())
}

/// The program trusts public authorities alone, so here its library speaks.
#[test]
fn a_real_mail_server_takes_mail_by_starttls_from_who_logs_in() {
    let authority = Authority::new();
    let certificate = authority.certify("127.0.0.1", 2020..2040);
    let server = MailServer::start(Some(&certificate));
    let starttls = |password| server.smtp(SmtpTls::Starttls, password);
    try_mail(starttls(PASSWORD), Some(&authority)).unwrap();
    let mails = server.mails();
    assert_eq!(mails.len(), 1);
    let id = "<dlv-00000000000000a1@example.org>";
    assert_eq!(header(&mails[0], "Message-ID"), Some(id));

    let error = try_mail(starttls("wrong"), Some(&authority)).unwrap_err();
    assert_eq!(
        (error.class, error.status, error.is_permanent),
        (ErrorClass::Refused, Some(535), false)
    );
    let error = try_mail(starttls(PASSWORD), None).unwrap_err();
    assert_eq!(error.class, ErrorClass::Tls);
    let plain = server.smtp(SmtpTls::None, PASSWORD);
    try_mail(plain, Some(&authority)).unwrap_err();
    assert_eq!(server.mails().len(), 1);
}
