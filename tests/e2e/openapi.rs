//! The OpenAPI document, as programs meet it: schemathesis makes requests of all kinds out
//! of it, valid and invalid ones, and holds every answer to it. That each answer of the
//! other tests is as the document says is seen to by `FleetbeatServer::request`.

use std::fs;
use std::path::Path;
use std::process::Command;

use fleetbeat_tools::server::{AGENT_KEY, FleetbeatServer};

/// How long requests are made up, in seconds.
const BUDGET: &str = "45";
/// Rules between fields, such as `status=down` that needs `all_servers=true`, have no words
/// in JSON Schema, so a request that is valid by its schema may be refused.
const NOT_CHECKED: &str = "positive_data_acceptance";

/// After this the token would be of no use; `accounts.rs` asks for it.
const NOT_ASKED: &str = "/me/logout-all";

/// What a request that the document does not allow may be answered with.
/// Of the users, those requests name one whose token is not the requests' own.
const SETTINGS: &str = "\
[parameters]
\"path.username\" = \"ann\"

[checks.negative_data_rejection]
expected-statuses = [\"400\", \"401\", \"403\", \"404\", \"405\", \"413\", \"415\", \"422\"]
";

/// The program, which the project's own script installs.
fn schemathesis() -> Command {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/tools.sh");
    let output = Command::new(script).arg("schemathesis").output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}");
    let folder = String::from_utf8(output.stdout).unwrap();
    Command::new(Path::new(folder.trim()).join("schemathesis"))
}

#[test]
fn whatever_is_asked_is_answered_as_the_document_says() {
    let server = FleetbeatServer::start();
    let full = include_bytes!("../../protocol/golden/heartbeat-full.json");
    assert_eq!(server.post_heartbeat("/heartbeat", full).status, 200);
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("schemathesis.toml"), SETTINGS).unwrap();
    let token = server.admin_token();
    server.add_user("ann", "admin", "a password");

    let output = schemathesis()
        .current_dir(folder.path())
        .args(["run", "--no-color", "--continue-on-failure"])
        .args(["--max-time", BUDGET, "--exclude-checks", NOT_CHECKED])
        .arg("--generation-deterministic")
        .args(["--exclude-path", NOT_ASKED])
        .args(["--header", &format!("Authorization: Bearer {token}")])
        .args(["--header", &format!("X-API-Key: {AGENT_KEY}")])
        .arg(format!("http://{}/openapi.json", server.address()))
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    // A request is shown whole, which may be a batch.
    let lines = told.lines().map(|line| line.chars().take(300).collect());
    let told = lines.collect::<Vec<String>>().join("\n");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}\n{errors}");

    // Every operation was called, but for one and for the document's own, and no handler
    // has failed.
    let document = server.request("GET", "/openapi.json", &[], b"").json();
    let paths = document["paths"].as_object().unwrap().values();
    let members = paths.flat_map(|path| path.as_object().unwrap().keys());
    let operations = members.filter(|member| *member != "parameters").count();
    assert!(
        told.contains(&format!("Tested: {}\n", operations - 2)),
        "{told}"
    );
    assert!(!server.log().contains("ERROR"), "{}", server.log());
}
