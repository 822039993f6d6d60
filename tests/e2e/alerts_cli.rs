//! `fleetbeat-server alerts`: rules as a file, and channels that are tried.

use std::fs;
use std::process::Output;

use fleetbeat_tools::fake_http::{FakeHttp, Reply};
use fleetbeat_tools::server::{Database, FleetbeatServer, SECRET_KEY};
use fleetbeat_tools::wait::wait_for;
use serde_json::{Value, json};
use tempfile::TempDir;

const SETTINGS: &str = "[alerts]\nallow_private = [\"127.0.0.0/8\"]\n";

/// A server, an admin's token for it, and a folder for files.
struct Scene {
    server: FleetbeatServer,
    token: String,
    folder: TempDir,
}

impl Scene {
    fn of(server: FleetbeatServer) -> Scene {
        Scene {
            token: server.admin_token(),
            folder: tempfile::tempdir().unwrap(),
            server,
        }
    }

    fn embedded() -> Scene {
        Scene::of(FleetbeatServer::start_with(SETTINGS, &[]))
    }

    fn on_both_backends(test: fn(&Scene)) {
        test(&Scene::embedded());
        let database = Database::new();
        let url = &database.url;
        let server = FleetbeatServer::start_on_mongodb(&database, url, "", SETTINGS);
        test(&Scene::of(server));
    }

    fn make(&self, target: &str, body: &Value) -> String {
        let made = self.server.api(&self.token, "POST", target, Some(body));
        assert_eq!(made.status, 201, "{made:?}");
        made.json()["id"].as_str().unwrap().to_owned()
    }

    fn channel(&self, name: &str, url: &str) -> String {
        let settings = json!({"url": url});
        let body = json!({"name": name, "kind": "webhook", "settings": settings});
        self.make("/channels", &body)
    }

    /// The rules of the API by name, without those that the server makes by itself.
    fn rules(&self) -> Vec<Value> {
        let rules = self
            .server
            .api(&self.token, "GET", "/alert-rules", None)
            .json();
        let rules = rules.as_array().unwrap().clone();
        let is_ours = |rule: &Value| rule["created_by"] != "server";
        rules.into_iter().filter(is_ours).collect()
    }

    fn rule(&self, name: &str) -> Value {
        let mut rules = self.rules().into_iter();
        rules.find(|rule| rule["name"] == name).unwrap()
    }

    fn alerts(&self, arguments: &[&str]) -> Output {
        self.server.command(&[&["alerts"], arguments].concat(), "")
    }

    /// What the command prints, which has to succeed.
    fn run(&self, arguments: &[&str]) -> String {
        let output = self.alerts(arguments);
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// What the command complains of, which has to fail.
    fn fail(&self, arguments: &[&str]) -> String {
        let output = self.alerts(arguments);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {output:?}");
        String::from_utf8(output.stderr).unwrap()
    }

    /// A file with this text.
    fn file(&self, name: &str, text: &str) -> String {
        let path = self.folder.path().join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// The kinds of events about rules, once there are so many made on the command line.
    fn events(&self, count: usize) -> Vec<String> {
        let target = "/events?kind=rule.*&after=0&limit=1000";
        wait_for("the events", || {
            let events = self.server.api(&self.token, "GET", target, None).json();
            let events = events["events"].as_array().unwrap().clone();
            let is_typed = |event: &&Value| event.to_string().contains("command line");
            let kinds = events.iter().filter(is_typed);
            let kinds: Vec<String> = kinds
                .map(|event| event["kind"].as_str().unwrap().to_owned())
                .collect();
            (kinds.len() == count).then_some(kinds)
        })
    }
}

/// Three rules, one of which names two channels.
const RULES: &str = r#"
[[rules]]
name = "Disk of ours"
severity = "warning"
when = "metric"
metric = "disk_used_percent"
labels = {mount = "/var*"}
above = 90
for = "10m"
where = "country=DE and paid"
channels = ["On call", "Mail"]
escalate = {after = "1h", channels = ["all"]}
note = "Look \"here\"\nand there"

[[rules]]
name = "Boot"
severity = "info"
when = "reboot"

[[rules]]
name = "Late"
severity = "critical"
when = "late"
after = "5m"
enabled = false
"#;

#[test]
fn rules_come_from_a_file_and_go_into_one() {
    Scene::on_both_backends(|scene| {
        let on_call = scene.channel("On call", "https://hooks.example.com/a");
        let mail = scene.channel("Mail", "https://hooks.example.com/b");
        let file = scene.file("rules.toml", RULES);

        let dry = scene.run(&["import", &file, "--dry-run"]);
        assert!(dry.contains("created\tDisk of ours\n"), "{dry}");
        assert!(dry.ends_with("a dry run: nothing was changed\n"), "{dry}");
        assert!(scene.rules().is_empty());

        let told = scene.run(&["import", &file]);
        assert!(told.contains("created\tDisk of ours\n"), "{told}");
        assert!(told.contains("created\tBoot\ncreated\tLate\n"), "{told}");
        let disk = scene.rule("Disk of ours");
        assert_eq!(disk["channels"], json!([on_call, mail]));
        assert_eq!(disk["escalate"]["channels"], json!(["all"]));
        assert_eq!(disk["where"], "country = DE and paid");
        let by = disk["created_by"].as_str().unwrap();
        assert!(by.starts_with("command line, "), "{by}");

        let exported = scene.run(&["export"]);
        let again = scene.file("again.toml", &exported);
        let told = scene.run(&["import", &again]);
        assert!(told.contains("unchanged\tDisk of ours\n"), "{told}");
        assert_eq!(scene.run(&["export"]), exported);
        assert_eq!(scene.rule("Disk of ours"), disk, "not even its version");
        assert!(exported.contains("channels = [\n    \"On call\",\n    \"Mail\",\n]"));
        assert!(!exported.contains("hooks") && !exported.contains(&on_call));

        // A rule that is changed keeps its id. Others stay, or go if that is wanted.
        let changed = RULES.split("[[rules]]\nname = \"Boot\"").next().unwrap();
        let changed = changed.replace("above = 90", "above = 91.5");
        let file = scene.file("rules.toml", &changed);
        let told = scene.run(&["import", &file]);
        assert!(told.contains("left\tBoot\n"), "{told}");
        assert!(told.contains("changed\tDisk of ours\n"), "{told}");
        let after = scene.rule("Disk of ours");
        assert_eq!((&after["id"], &after["above"]), (&disk["id"], &json!(91.5)));
        assert_eq!(after["created_at"], disk["created_at"]);

        let told = scene.run(&["import", &file, "--delete-others"]);
        assert!(told.contains("removed\tBoot\n"), "{told}");
        assert!(told.contains("unchanged\tDisk of ours\n"), "{told}");
        assert_eq!(scene.rules().len(), 1);
        // What the first start of the server has made may be among what is removed.
        let kinds = scene.events(1 + 3 + told.matches("removed").count());
        let count = |kind: &str| kinds.iter().filter(|one| *one == kind).count();
        assert_eq!((count("rule.created"), count("rule.changed")), (3, 1));
    });
}

#[test]
fn a_file_with_a_mistake_changes_nothing_and_each_mistake_is_named() {
    let scene = Scene::embedded();
    let file = scene.file("rules.toml", RULES);
    let told = scene.fail(&["import", &file]);
    let unknown = "rule 1 (\"Disk of ours\"): channels[0] \"On call\" is not a channel";
    assert!(told.contains(unknown), "{told}");
    assert!(
        told.contains("channels[1] \"Mail\" is not a channel"),
        "{told}"
    );
    assert!(
        told.contains("has 2 mistakes, and nothing was changed"),
        "{told}"
    );

    for name in ["On call", "Mail", "Mail"] {
        scene.channel(name, "https://hooks.example.com/a");
    }
    let told = scene.fail(&["import", &file]);
    assert!(
        told.contains("channels[1] \"Mail\" is the name of several"),
        "{told}"
    );

    let wrong = RULES.replace("\"10m\"", "\"soon\"");
    let wrong = wrong.replace("when = \"reboot\"", "when = \"boot\"\nfor = 1");
    let told = scene.fail(&["import", &scene.file("wrong.toml", &wrong)]);
    assert!(
        told.contains("rule 1 (\"Disk of ours\"): for must be"),
        "{told}"
    );
    assert!(
        told.contains("rule 2 (\"Boot\"): when is not a condition"),
        "{told}"
    );
    let told = scene.fail(&["import", "/nowhere/rules.toml"]);
    assert!(told.contains("/nowhere/rules.toml"), "{told}");
    assert!(scene.rules().is_empty());

    // Two rules of one name could not be told apart.
    let boot = json!({"name": "Boot", "severity": "info", "when": "reboot"});
    let ids = [
        scene.make("/alert-rules", &boot),
        scene.make("/alert-rules", &boot),
    ];
    for arguments in [&["export"][..], &["import", &scene.file("none.toml", "")]] {
        let told = scene.fail(arguments);
        assert!(ids.iter().all(|id| told.contains(id)), "{told}");
    }
}

#[test]
fn a_channel_is_tried_from_the_command_line() {
    let peer = FakeHttp::start([]);
    let scene = Scene::embedded();
    let id = scene.channel("On call", &peer.url("/hook"));
    let try_it = |environment: &[(&str, &str)], name: &str| {
        let mut command = fleetbeat_tools::process::program("fleetbeat-server");
        command.envs(environment.iter().copied());
        let config = scene.server.config();
        command
            .arg("-c")
            .arg(config)
            .args(["alerts", "test-channel", name]);
        let output = command.output().unwrap();
        let [told, wrong] =
            [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap());
        (output.status.code(), format!("{told}{wrong}"))
    };
    let key = [("SECRET_KEY", SECRET_KEY)];
    for name in ["On call", &id] {
        let (code, told) = try_it(&key, name);
        assert_eq!(code, Some(0), "{told}");
        let taken = format!("channel On call ({id}) has taken the message\n");
        assert_eq!(told, taken);
    }
    assert_eq!(peer.received().len(), 2);
    assert_eq!(peer.received()[0].json()["kind"], "test");

    peer.push(Reply::status(500, "no"));
    let (code, told) = try_it(&key, "On call");
    assert_eq!(
        (code, told.contains(": refused: ")),
        (Some(1), true),
        "{told}"
    );
    let (code, told) = try_it(&[("SECRET_KEY", &"x".repeat(32))], "On call");
    assert_eq!(code, Some(1));
    assert!(
        told.contains("settings: sealed with another SECRET_KEY"),
        "{told}"
    );
    let (code, told) = try_it(&key, "Nobody");
    assert_eq!(code, Some(1));
    assert!(told.contains("\"Nobody\" is not a channel: there are \"On call\""));
    let (code, told) = try_it(&[], "On call");
    assert_eq!(
        (code, told.contains("secret_key")),
        (Some(1), true),
        "{told}"
    );
}
