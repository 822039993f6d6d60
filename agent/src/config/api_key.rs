//! The key for the server: its places, and the rule that nobody else may read it.
//!
//! The key is never an argument, because every user can see the arguments of a process.
//! [`Secret`] keeps the key out of the log. The environment of a process is visible to
//! root and to the process's own user, so a file or a credential is the better place.

use std::ffi::OsString;
use std::fs;
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use fleetbeat_settings::{Problem, Problems, Secret};
use rustix::process::{DumpableBehavior, set_dumpable_behavior};

/// The places of the key besides `server.api_key_file`, for people.
pub(super) const PLACES: &str = "AGENT_API_KEY in the environment, agent.env beside \
                                 agent.toml, and the systemd credential agent_api_key";

/// The environment variables that hold the key, or the path of its file.
const VARIABLES: [&str; 2] = ["AGENT_API_KEY", "AGENT_API_KEY_FILE"];
/// The name of systemd's credential: `LoadCredential=agent_api_key:PATH`.
const CREDENTIAL: &str = "agent_api_key";
/// Longest key: a longer file holds something else.
const MAX_BYTES: usize = 1024;

/// The environment variable with the folder of systemd's credentials.
const CREDENTIALS_FOLDER: &str = "CREDENTIALS_DIRECTORY";

/// Whether a configuration without a key has a problem.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum KeyNeed {
    /// Heartbeats are to be sent.
    Required,
    /// Measuring and checking do without a key.
    Optional,
}

/// A key as found outside of agent.toml.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum FoundKey {
    Nowhere,
    /// There is a key, but not a usable one: the reason is among the problems.
    Unusable,
    Usable(Secret),
}

impl FoundKey {
    pub(super) fn into_secret(self) -> Option<Secret> {
        match self {
            FoundKey::Usable(key) => Some(key),
            FoundKey::Nowhere | FoundKey::Unusable => None,
        }
    }
}

/// A variable's name and its value.
type Variable = (&'static str, OsString);

/// Looks for the key in the environment, then in agent.env beside the configuration
/// `config`, then among systemd's credentials.
///
/// systemd hands the lines of agent.env to the service as its environment. Reading the
/// file here gives the same key to a person who calls the agent by hand.
pub(super) fn find(config: &Path, problems: &mut Problems) -> FoundKey {
    let of_file = read_environment_file(&config.with_extension("env"), problems);
    let of_process: Vec<Variable> = VARIABLES
        .into_iter()
        .filter_map(|name| Some((name, std::env::var_os(name)?)))
        .collect();

    for variables in [of_process, of_file] {
        if !variables.is_empty() {
            return find_in_variables(&variables, problems);
        }
    }
    find_credential(problems)
}

fn find_in_variables(variables: &[Variable], problems: &mut Problems) -> FoundKey {
    let value_of = |name: &str| {
        let mut named = variables.iter().filter(|(other, _)| *other == name);
        named.next().map(|(_, value)| value.clone())
    };
    let Some(key) = Secret::find(VARIABLES[0], value_of, read_private, problems) else {
        return FoundKey::Unusable;
    };

    match check(&key) {
        Ok(()) => FoundKey::Usable(key),
        Err(message) => {
            problems.add_variable(VARIABLES[0], message);
            FoundKey::Unusable
        }
    }
}

fn find_credential(problems: &mut Problems) -> FoundKey {
    let Some(folder) = std::env::var_os(CREDENTIALS_FOLDER) else {
        return FoundKey::Nowhere;
    };
    let path = PathBuf::from(folder).join(CREDENTIAL);
    if !path.exists() {
        return FoundKey::Nowhere;
    }

    match read(&path) {
        Ok(key) => FoundKey::Usable(key),
        Err(message) => {
            problems.add_variable(CREDENTIALS_FOLDER, message);
            FoundKey::Unusable
        }
    }
}

/// The key in the file at `path`.
///
/// # Errors
/// A sentence with the path.
pub(super) fn read(path: &Path) -> Result<Secret, String> {
    let key = Secret::read(path, read_private)?;
    check(&key)
        .map(|()| key)
        .map_err(|message| format!("{}: {message}", path.display()))
}

/// Keeps the memory of this process, and with it the key, out of core dumps and away from
/// other processes of the same user.
pub(crate) fn hide_memory() {
    if let Err(error) = set_dumpable_behavior(DumpableBehavior::NotDumpable) {
        log::warn!("a core dump of this process would show the key: {error}");
    }
}

/// An error unless the key can be the value of an HTTP header.
fn check(key: &Secret) -> Result<(), &'static str> {
    let key = key.expose();
    if key.len() > MAX_BYTES || !key.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err("is no key: a key is one word of printable ASCII characters");
    }
    Ok(())
}

/// The text of a private file, to which "others" have no access. The group may have
/// access: systemd has one for credentials, and the agent's user has one, too.
fn read_private(path: &Path) -> io::Result<String> {
    let mut file = fs::File::open(path)?;
    let mode = file.metadata()?.mode() & 0o777;
    if mode & 0o007 != 0 {
        let message = format!("its mode {mode:03o} lets everybody in: chmod o=");
        return Err(io::Error::new(ErrorKind::PermissionDenied, message));
    }
    let mut text = String::new();
    file.read_to_string(&mut text)?;
    Ok(text)
}

/// The key's variables in systemd's environment file at `path`. The file may be absent or
/// readable for root alone, and has no variables then.
fn read_environment_file(path: &Path, problems: &mut Problems) -> Vec<Variable> {
    match read_private(path) {
        Ok(text) => return parse_environment(&text),
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) if is_denied_by_system(&error) => {}
        Err(error) => problems.add(Problem {
            file: path.display().to_string(),
            line: None,
            key: String::new(),
            message: error.to_string(),
        }),
    }
    Vec::new()
}

/// Whether the system has denied the access. [`read_private`] has errors of the same kind
/// of its own, without a code of the system.
fn is_denied_by_system(error: &io::Error) -> bool {
    error.raw_os_error().is_some() && error.kind() == ErrorKind::PermissionDenied
}

/// The variables of the key among the lines `NAME=value`, where the value may be in
/// quotes. All other lines are skipped, and of two lines with the same name the later one
/// counts.
fn parse_environment(text: &str) -> Vec<Variable> {
    let mut found: Vec<Variable> = Vec::new();
    for (name, value) in text.lines().filter_map(|line| line.split_once('=')) {
        let Some(name) = VARIABLES.into_iter().find(|known| *known == name.trim()) else {
            continue;
        };

        let value = value.trim();
        let unquoted = ['"', '\'']
            .into_iter()
            .find_map(|quote| value.strip_prefix(quote)?.strip_suffix(quote));
        found.retain(|(other, _)| *other != name);
        found.push((name, unquoted.unwrap_or(value).into()));
    }
    found
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_key_file_is_not_everybodys() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        fs::write(&path, "secret\n").unwrap();
        for (mode, is_private) in [
            (0o600, true),
            (0o400, true),
            (0o440, true),
            (0o602, false),
            (0o644, false),
            (0o604, false),
        ] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(read_private(&path).is_ok(), is_private, "{mode:o}");
        }
        let told = read(&path).unwrap_err();
        assert!(
            told.ends_with("its mode 604 lets everybody in: chmod o="),
            "{told}"
        );
    }

    #[test]
    fn a_key_is_one_printable_word() {
        let check = |key: &str| {
            let key = Secret::read(Path::new("key"), |_| Ok(key.to_owned())).unwrap();
            check(&key).is_ok()
        };
        assert!(check("k-1_,.+/=") && check(&"k".repeat(MAX_BYTES)));
        assert!(
            !check("two words")
                && !check("a\r\nb")
                && !check("ключ")
                && !check(&"k".repeat(MAX_BYTES + 1))
        );
    }

    #[test]
    fn an_environment_file_is_read_as_systemd_reads_it() {
        for (text, expected) in [
            ("AGENT_API_KEY=k=1", &[("AGENT_API_KEY", "k=1")][..]),
            (
                "# AGENT_API_KEY=no\n;AGENT_API_KEY=no\n\n\
                 OTHER=x\n  AGENT_API_KEY = k \r\n",
                &[("AGENT_API_KEY", "k")],
            ),
            (
                "AGENT_API_KEY=\"k\"\nAGENT_API_KEY='l'",
                &[("AGENT_API_KEY", "l")],
            ),
            (
                "AGENT_API_KEY_FILE=/k\nAGENT_API_KEY=",
                &[("AGENT_API_KEY_FILE", "/k"), ("AGENT_API_KEY", "")],
            ),
            ("AGENT_API_KEY", &[]),
        ] {
            let expected: Vec<(&str, OsString)> = expected
                .iter()
                .map(|(name, value)| (*name, OsString::from(*value)))
                .collect();
            assert_eq!(parse_environment(text), expected, "{text:?}");
        }
    }
}
