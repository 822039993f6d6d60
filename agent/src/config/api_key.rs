//! The key that the server asks for: where it may be, and that it is nobody else's.
//!
//! It never stands in an argument, and [`Secret`] keeps it out of the log. Root and the
//! agent's own user can see a process's environment; a file or a credential is better
//! than that.

use std::ffi::OsString;
use std::fs;
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use fleetbeat_settings::{Problem, Problems, Secret};
use rustix::process::{DumpableBehavior, set_dumpable_behavior};

/// Where it may be besides `server.api_key_file`, for people.
pub(crate) const PLACES: &str = "AGENT_API_KEY in the environment, agent.env beside agent.toml, and the systemd credential agent_api_key";

/// The environment variables that hold it, or the path of its file.
const VARIABLES: [&str; 2] = ["AGENT_API_KEY", "AGENT_API_KEY_FILE"];
/// systemd's credential: `LoadCredential=agent_api_key:PATH`.
const CREDENTIAL: &str = "agent_api_key";
/// Longest key, in bytes: longer ones are files of another kind.
const MAX_BYTES: usize = 1024;

/// The key of the environment, else of agent.env beside the configuration `config`, else
/// of systemd's credentials. `Some(None)` where there is one that cannot be used, which
/// is then among the problems.
///
/// systemd hands agent.env to the service as its environment; who calls the agent by hand
/// gets the same key.
pub(crate) fn find(config: &Path, problems: &mut Problems) -> Option<Option<Secret>> {
    let of_file = read_environment_file(&config.with_extension("env"), problems);
    let mut variables: Vec<(&str, OsString)> = VARIABLES
        .iter()
        .filter_map(|name| Some((*name, std::env::var_os(name)?)))
        .collect();
    if variables.is_empty() {
        variables = of_file;
    }
    if !variables.is_empty() {
        let variable = |name: &str| {
            variables
                .iter()
                .find(|(other, _)| *other == name)
                .map(|(_, value)| value.clone())
        };
        let key = Secret::find(VARIABLES[0], variable, read_private, problems);
        return Some(key.and_then(|key| match check(&key) {
            Ok(()) => Some(key),
            Err(message) => {
                problems.add_variable(VARIABLES[0], message);
                None
            }
        }));
    }
    let path = PathBuf::from(std::env::var_os("CREDENTIALS_DIRECTORY")?).join(CREDENTIAL);
    path.exists().then(|| {
        read(&path)
            .map_err(|message| problems.add_variable("CREDENTIALS_DIRECTORY", message))
            .ok()
    })
}

/// The key in the file at `path`.
///
/// # Errors
/// A sentence that names the path.
pub(crate) fn read(path: &Path) -> Result<Secret, String> {
    let key = Secret::read(path, read_private)?;
    check(&key)
        .map(|()| key)
        .map_err(|message| format!("{}: {message}", path.display()))
}

/// Keeps this process's memory, which the key is in, out of core dumps and from other
/// processes of its user.
pub(crate) fn hide_memory() {
    if let Err(error) = set_dumpable_behavior(DumpableBehavior::NotDumpable) {
        log::warn!("a core dump of this process would show the key: {error}");
    }
}

/// Whether the key can go into a header.
fn check(key: &Secret) -> Result<(), &'static str> {
    let key = key.expose();
    if key.len() > MAX_BYTES || !key.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err("is no key: a key is one word of printable ASCII characters");
    }
    Ok(())
}

/// The text of a file that is not everybody's; its group may be systemd's for
/// credentials, or the agent's own.
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

/// The key's variables in systemd's environment file at `path`, which may be missing, or
/// root's alone.
fn read_environment_file(
    path: &Path,
    problems: &mut Problems,
) -> Vec<(&'static str, OsString)> {
    match read_private(path) {
        Ok(text) => parse_environment(&text),
        Err(error)
            if error.kind() == ErrorKind::NotFound
                || error.raw_os_error().is_some_and(is_denied) =>
        {
            Vec::new()
        }
        Err(error) => {
            let (file, key, message) =
                (path.display().to_string(), String::new(), error.to_string());
            problems.add(Problem {
                file,
                line: None,
                key,
                message,
            });
            Vec::new()
        }
    }
}

/// Whether the system said so, and not [`read_private`].
fn is_denied(code: i32) -> bool {
    io::Error::from_raw_os_error(code).kind() == ErrorKind::PermissionDenied
}

/// `NAME=value` in each line, in quotes or not; what else may stand in such a file is not
/// about the key.
fn parse_environment(text: &str) -> Vec<(&'static str, OsString)> {
    let mut found: Vec<(&'static str, OsString)> = Vec::new();
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
                "# AGENT_API_KEY=no\n;AGENT_API_KEY=no\n\nOTHER=x\n  AGENT_API_KEY = k \r\n",
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
