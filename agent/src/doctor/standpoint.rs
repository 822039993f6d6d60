//! From where `doctor` looks. The service runs as a user of its own, inside the walls of
//! its unit; root sees and may do more, so what root finds well says nothing about the
//! service.
//!
//! Called by root, `doctor` therefore runs itself once more: inside the walls of the
//! unit, with its drop-ins, by `systemd-run`; or, where there is no systemd, as the user
//! to whom the spool's folder belongs.

use std::fs;
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf, absolute};
use std::process::{self, Command, ExitStatus, Stdio};

use rustix::process::geteuid;

use crate::config::{Config, KeyNeed, STATE_FOLDER};
use crate::service::exit::AgentError;

/// The service's unit.
const UNIT: &str = "fleetbeat-agent.service";
/// The service's configuration, unless the unit names another one.
const USUAL_CONFIG: &str = "/etc/fleetbeat/agent.toml";
/// Is there where systemd is the init process.
const SYSTEMD_FOLDER: &str = "/run/systemd/system";
/// In the environment of a doctor that another doctor has started.
const MARK: &str = "FLEETBEAT_DOCTOR_INSIDE";

/// The unit's settings that say how the service runs, and not what it may see and do.
/// Those that begin with Exec, Restart, Timeout, Watchdog, Standard and Log go, too.
const LEFT_OUT: [&str; 12] = [
    "Type",
    "NotifyAccess",
    "PIDFile",
    "BusName",
    "RemainAfterExit",
    "GuessMainPID",
    "SuccessExitStatus",
    "FileDescriptorStoreMax",
    "OOMPolicy",
    "Sockets",
    "SyslogIdentifier",
    "SyslogFacility",
];
const LEFT_OUT_BEGINNINGS: [&str; 6] =
    ["Exec", "Restart", "Timeout", "Watchdog", "Standard", "Log"];

/// Where root asks about the service's configuration: runs `command` inside the walls of
/// the service's unit, where the service's own rights and credentials count. `None` if that
/// does not work, or is done already.
pub(crate) fn go_inside_unit(
    path: &Path,
    command: &str,
) -> Option<Result<(), AgentError>> {
    if std::env::var_os(MARK).is_some() {
        // A sign that the walls let the command through, whatever it says next.
        let _ = writeln!(io::stdout());
        return None;
    }
    if !geteuid().is_root() {
        return None;
    }
    let unit = read_unit().filter(|unit| is_of_service(unit, path))?;
    run_in_unit(&unit, path, command).ok().map(result_of)
}

/// Runs `doctor` for the configuration at `path` from where the service looks, and gives
/// its result. `None` if the doctor is there already, or cannot get there: standard error
/// says so then.
pub(super) fn go_inside(path: &Path) -> Option<Result<(), AgentError>> {
    if std::env::var_os(MARK).is_some() {
        return None;
    }
    let unit = read_unit().filter(|unit| is_of_service(unit, path));
    if !geteuid().is_root() {
        if unit.is_some() {
            let user = geteuid().as_raw();
            say(&format!(
                "user {user} is asked here, outside of the unit's walls; root is asked \
                 inside of them"
            ));
        }
        return None;
    }

    let why = match unit.map(|unit| run_in_unit(&unit, path, "doctor")) {
        Some(Ok(status)) => return Some(result_of(status)),
        Some(Err(why)) => why,
        None => format!("this host has no {UNIT} for this configuration"),
    };
    match run_as_owner(path) {
        Some((status, user)) => {
            say(&format!(
                "{why}; user {user} was asked, outside of any walls"
            ));
            Some(result_of(status))
        }
        None => {
            say(&format!(
                "{why}; root is asked, who may do more than a service"
            ));
            None
        }
    }
}

fn say(what: &str) {
    let _ = writeln!(io::stderr(), "fleetbeat-agent: {what}");
}

/// The other doctor has printed everything, its own error included.
fn result_of(status: ExitStatus) -> Result<(), AgentError> {
    match status.code() {
        Some(0) => Ok(()),
        code => process::exit(code.unwrap_or(1)),
    }
}

/// The text of the service's unit and its drop-ins.
fn read_unit() -> Option<String> {
    if !Path::new(SYSTEMD_FOLDER).is_dir() {
        return None;
    }
    let output = Command::new("systemctl")
        .args(["cat", UNIT])
        .output()
        .ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    output.status.success().then_some(text)
}

/// Whether the service of the unit reads the configuration at `path`.
fn is_of_service(unit: &str, path: &Path) -> bool {
    let mut commands = settings_of(unit).filter(|(key, _)| key == "ExecStart");
    path == Path::new(USUAL_CONFIG)
        || commands.any(|(_, command)| command.contains(&*path.to_string_lossy()))
}

/// Runs the doctor as a service of its own with the walls of the unit.
///
/// # Errors
/// The doctor has not run, and why.
fn run_in_unit(unit: &str, path: &Path, command: &str) -> Result<ExitStatus, String> {
    let arguments = arguments(path, command)?;
    let mut run = Command::new("systemd-run");
    run.args(["--quiet", "--wait", "--pipe", "--collect"]);
    run.arg(format!("--unit=fleetbeat-agent-doctor-{}", process::id()));
    run.arg(format!("--setenv={MARK}=1"));
    run.args(walls_of(unit));
    run.arg("--").args(arguments);

    run.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = run
        .spawn()
        .map_err(|error| format!("cannot start systemd-run: {error}"))?;
    let lines = child.stdout.take().map_or(0, pass_on);
    let output = child
        .wait_with_output()
        .map_err(|error| format!("cannot wait for systemd-run: {error}"))?;

    let complaint = String::from_utf8_lossy(&output.stderr);
    if lines == 0 {
        let why = complaint.lines().next().unwrap_or("it says nothing");
        return Err(format!(
            "systemd-run does not get inside the unit's walls: {}",
            why.escape_debug()
        ));
    }
    let _ = write!(io::stderr(), "{complaint}");
    Ok(output.status)
}

/// Prints each line as it comes, but for empty ones. Gives the number of lines.
fn pass_on(from: impl io::Read) -> usize {
    let mut count = 0;
    for line in BufReader::new(from).lines().map_while(Result::ok) {
        count += 1;
        if !line.is_empty() {
            let _ = writeln!(io::stdout(), "{line}");
        }
    }
    count
}

/// The unit's walls as arguments of systemd-run, in the unit's order: a later setting
/// adds to an earlier one, or replaces it.
fn walls_of(unit: &str) -> impl Iterator<Item = String> {
    let is_wall = |(key, _): &(String, String)| {
        let begins = |beginning: &&str| key.starts_with(*beginning);
        !LEFT_OUT.contains(&key.as_str()) && !LEFT_OUT_BEGINNINGS.iter().any(begins)
    };
    settings_of(unit)
        .filter(is_wall)
        .map(|(key, value)| format!("--property={key}={value}"))
}

/// The keys and values of the section [Service].
fn settings_of(unit: &str) -> impl Iterator<Item = (String, String)> {
    let mut is_service = false;
    let mut settings: Vec<(String, String)> = Vec::new();
    let mut is_continued = false;

    for line in unit.lines().map(str::trim) {
        if line.is_empty() || line.starts_with(['#', ';']) {
            continue;
        }
        let (text, continues) = match line.strip_suffix('\\') {
            Some(text) => (text, true),
            None => (line, false),
        };
        if is_continued {
            if let (true, Some((_, value))) = (is_service, settings.last_mut()) {
                value.push_str(text);
            }
        } else if line.starts_with('[') {
            is_service = line == "[Service]";
        } else if let (true, Some((key, value))) = (is_service, text.split_once('=')) {
            let value = value.trim_start().to_owned();
            settings.push((key.trim_end().to_owned(), value));
        }
        is_continued = continues;
    }
    settings.into_iter()
}

/// Runs the doctor as the owner of the spool's folder, unless that is root. Gives the
/// result and the user.
fn run_as_owner(path: &Path) -> Option<(ExitStatus, u32)> {
    let configured = Config::load(path, KeyNeed::Optional).ok();
    let folder = configured.map_or_else(|| STATE_FOLDER.into(), |config| config.spool);
    let owner = fs::metadata(folder).ok()?;
    if owner.uid() == 0 {
        return None;
    }

    let [program, rest @ ..] = &arguments(path, "doctor").ok()?[..] else {
        return None;
    };
    let mut command = Command::new(program);
    command.args(rest).env(MARK, "1");
    // Only the owner's own group is left, as in the unit.
    command.uid(owner.uid()).gid(owner.gid());
    Some((command.status().ok()?, owner.uid()))
}

/// The command line of `command` for the same configuration.
fn arguments(path: &Path, command: &str) -> Result<[PathBuf; 4], String> {
    let own = |error| format!("cannot find this program: {error}");
    let program = std::env::current_exe().map_err(own)?;
    let path = absolute(path).map_err(own)?;
    Ok([program, "--config".into(), path, command.into()])
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# /usr/lib/systemd/system/fleetbeat-agent.service\n\
        [Unit]\nDescription=x\nUser=nobody\n\n[Service]\nType=notify\n\
        ExecStart=/usr/bin/fleetbeat-agent -c /srv/agent.toml run\n\
        User = fleetbeat-agent\n; a comment\nSystemCallFilter=@system-service \\\n\
        # inside\n  @mount\nRestartSec=5\nCapabilityBoundingSet=\n\
        [Install]\nWantedBy=multi-user.target\n\n\
        # /etc/systemd/system/fleetbeat-agent.service.d/override.conf\n[Service]\n\
        SupplementaryGroups=systemd-journal\nExecStartPost=/bin/true\n";

    #[test]
    fn walls_are_those_of_the_unit_and_its_drop_ins() {
        let walls: Vec<_> = walls_of(TEXT).collect();
        let expected = [
            "--property=User=fleetbeat-agent",
            "--property=SystemCallFilter=@system-service @mount",
            "--property=CapabilityBoundingSet=",
            "--property=SupplementaryGroups=systemd-journal",
        ];
        assert_eq!(walls, expected);
    }

    #[test]
    fn the_packaged_unit_keeps_its_walls() {
        let unit = include_str!("../../../packaging/fleetbeat-agent.service");
        let walls: Vec<_> = walls_of(unit).collect();
        for wall in [
            "User=fleetbeat-agent",
            "ProtectSystem=strict",
            "StateDirectory=fleetbeat-agent",
            "RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX AF_NETLINK",
        ] {
            assert!(walls.contains(&format!("--property={wall}")), "{walls:?}");
        }
        assert!(
            !walls
                .iter()
                .any(|wall| wall.contains("fleetbeat-agent run"))
        );
    }

    #[test]
    fn a_configuration_is_the_services_where_the_unit_says_so() {
        for (path, is_its) in [
            ("/etc/fleetbeat/agent.toml", true),
            ("/srv/agent.toml", true),
            ("/home/me/agent.toml", false),
        ] {
            assert_eq!(is_of_service(TEXT, Path::new(path)), is_its, "{path}");
        }
    }
}
