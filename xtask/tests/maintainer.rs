//! What a package's maintainer script does where something stands in its way.

#![allow(clippy::unwrap_used, reason = "a test may panic in its helpers, too")]

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

/// Purges `package` where functions of the shell stand in for the host's programs: a name
/// and a line of shell each.
fn purge(package: &str, programs: &[(&str, &str)]) -> (Output, String) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let assembled = Command::new("bash")
        .args([
            "-c",
            "source scripts/lib.sh; maintainer_script $0 postremove",
        ])
        .arg(package)
        .current_dir(root)
        .output()
        .unwrap();
    assert!(assembled.status.success());

    let folder = tempfile::tempdir().unwrap();
    let calls = folder.path().join("calls");
    let mut script = String::new();
    for (name, line) in programs {
        script += &format!(
            "{name}() (\necho {name} \"$@\" >>{}\n{line}\n)\n",
            calls.display()
        );
    }
    script += std::str::from_utf8(&assembled.stdout).unwrap();
    fs::write(folder.path().join("script"), script).unwrap();

    let output = Command::new("/bin/sh")
        .arg(folder.path().join("script"))
        .arg("purge")
        // Nothing of this host can be called.
        .env("PATH", folder.path())
        .output()
        .unwrap();
    (output, fs::read_to_string(calls).unwrap_or_default())
}

#[test]
fn a_purge_that_meets_what_is_in_use_succeeds_and_says_so() {
    for (package, user) in [
        ("fleetbeat-agent", "fleetbeat-agent"),
        ("fleetbeat-server", "fleetbeat"),
    ] {
        let (output, calls) = purge(
            package,
            &[
                ("rm", "exit 1"),
                ("rmdir", "exit 1"),
                ("getent", "exit 0"),
                ("userdel", "exit 8"),
                ("groupdel", "exit 8"),
            ],
        );
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{package}: {said}");
        assert!(
            said.contains(&format!("the user {user} is in use and stays")),
            "{said}"
        );
        assert!(said.contains("cannot be removed as a whole"), "{said}");
        assert!(
            !calls.contains("groupdel"),
            "the user's group stays: {calls}"
        );
    }
}

#[test]
fn a_purge_takes_what_is_ours_and_nothing_else() {
    let (output, calls) = purge(
        "fleetbeat-agent",
        &[
            ("rm", ""),
            ("rmdir", ""),
            ("getent", "exit 2"),
            ("userdel", ""),
            ("groupdel", ""),
        ],
    );
    assert!(output.status.success());
    let removed: Vec<_> = calls
        .lines()
        .filter(|call| call.starts_with("rm"))
        .collect();
    let expected = [
        "rm -rf /etc/fleetbeat/agent.d /etc/fleetbeat/agent.key /etc/fleetbeat/ca.pem",
        "rm -rf /var/lib/fleetbeat-agent",
        "rmdir /etc/fleetbeat",
    ];
    assert_eq!(removed, expected);
}
