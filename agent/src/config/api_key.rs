//! The key for the server: its places, and the rule that nobody else may read it.
//!
//! The key is never an argument, because every user can see the arguments of a process.
//! [`Secret`] keeps the key out of the log. The environment of a process is visible to
//! root and to the process's own user, so a file or a credential is the better place.

use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use fleetbeat_settings::{Fault, Problem, Problems, Secret, read_text};
use rustix::process::{DumpableBehavior, set_dumpable_behavior};

use super::read_only;

/// The environment variables that hold the key, or the path of its file.
pub(crate) const VARIABLES: [&str; 2] = ["AGENT_API_KEY", "AGENT_API_KEY_FILE"];
/// What may stand around a value in agent.env.
const QUOTES: [char; 2] = ['"', '\''];
/// The name of systemd's credential: `LoadCredential=agent_api_key:PATH`.
const CREDENTIAL: &str = "agent_api_key";
/// Longest key: a longer file holds something else.
const MAX_BYTES: usize = 1024;
/// Longest file around a key, such as agent.env with its comments.
const MAX_FILE_BYTES: u64 = 64 << 10;

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

/// A usable key, and where it was found.
#[derive(Debug, Clone)]
pub(crate) struct Key {
    pub(crate) secret: Secret,
    /// The place, for people: `agent.env:3: AGENT_API_KEY`.
    pub(crate) source: String,
    /// The file that holds the key and nothing else, where there is one.
    pub(crate) file: Option<PathBuf>,
}

/// A key as found outside of agent.toml.
#[derive(Debug)]
pub(super) enum FoundKey {
    /// There is none; the file would be the place for one.
    Nowhere(PathBuf),
    /// There is a file that may hold a key, and this user cannot read it.
    Hidden(PathBuf),
    /// There is a key, but not a usable one: the reason is among the problems.
    Unusable,
    Usable(Key),
}

/// A line of agent.env about the key.
#[derive(Debug, PartialEq, Eq)]
struct Line {
    number: usize,
    name: &'static str,
    value: String,
}

/// Looks for the key in the environment, in agent.env beside the configuration `config`,
/// and among systemd's credentials. All of them are read: two different keys are a
/// problem, because nobody could tell which one counts.
pub(super) fn find(config: &Path, problems: &mut Problems) -> FoundKey {
    let before = problems.count();
    let file = config.with_extension("env");
    let (of_file, hidden) = match read_environment_file(&file, problems) {
        EnvironmentFile::Lines(lines) => (find_in_lines(&file, &lines, problems), None),
        EnvironmentFile::Hidden => (None, Some(file.clone())),
        EnvironmentFile::Useless => (None, None),
    };
    let found = [
        find_in_environment(problems),
        of_file,
        find_credential(problems),
    ];

    let mut keys = found.into_iter().flatten();
    let first = keys.next();
    if let Some(first) = &first
        && let Some(other) = keys.find(|key| key.secret != first.secret)
    {
        let (place, message) = (first.source.clone(), differs_from(&other.source));
        problems.add_fault(place, None, String::new(), message.into());
    }
    match (first, hidden) {
        _ if problems.count() > before => FoundKey::Unusable,
        (Some(key), _) => FoundKey::Usable(key),
        (None, Some(path)) => FoundKey::Hidden(path),
        (None, None) => FoundKey::Nowhere(file),
    }
}

/// What to say of a key when the place `other` has another key.
pub(super) fn differs_from(other: &str) -> String {
    format!("is another key than that of {other}: one of the two must go")
}

/// The place of a key in the environment of this process, but for one that names `file`.
pub(crate) fn place_in_environment(file: &Path) -> Option<String> {
    let names_other = |name: &&str| {
        std::env::var_os(name)
            .is_some_and(|value| *name == VARIABLES[0] || Path::new(&value) != file)
    };
    let variable = VARIABLES.into_iter().find(names_other);
    let credential = std::env::var_os(CREDENTIALS_FOLDER)
        .is_some_and(|folder| Path::new(&folder).join(CREDENTIAL).exists());
    let of_systemd = || credential.then(|| format!("systemd's credential {CREDENTIAL}"));
    let shown = variable.map(|name| format!("the environment variable {name}"));
    shown.or_else(of_systemd)
}

fn find_in_environment(problems: &mut Problems) -> Option<Key> {
    let variable = |name: &str| std::env::var_os(name);
    let key = Secret::find(VARIABLES[0], variable, read_private, problems)?;
    let name = VARIABLES
        .into_iter()
        .find(|name| std::env::var_os(name).is_some())?;

    let file = std::env::var_os(VARIABLES[1]).map(PathBuf::from);
    match check(&key) {
        Ok(()) => Some(Key {
            secret: key,
            source: format!("environment: {name}"),
            file: file.filter(|_| name == VARIABLES[1]),
        }),
        Err(message) => {
            problems.add_variable(name, message);
            None
        }
    }
}

/// The key that the lines of agent.env set. As for systemd, the last line of a name
/// counts.
fn find_in_lines(file: &Path, lines: &[Line], problems: &mut Problems) -> Option<Key> {
    let line = lines.last()?;
    let mut fail = |fault: Fault| {
        let (file, name) = (file.display().to_string(), line.name.to_owned());
        problems.add_fault(file, Some(line.number), name, fault);
        None
    };
    if let Some(other) = lines.iter().rfind(|other| other.name != line.name) {
        let (name, number) = (other.name, other.number);
        let message =
            format!("is set, and so is {name} in line {number}: one of them must go");
        return fail(message.into());
    }

    if line.value.starts_with(QUOTES) || line.value.ends_with(QUOTES) {
        return fail("has a quote without its other one".into());
    }

    let found = if line.name == VARIABLES[0] {
        Secret::read(file, |_| Ok(line.value.clone()))
            .map_err(|_| "is empty".into())
            .and_then(|key| check(&key).map(|()| key).map_err(Fault::from))
    } else {
        read(Path::new(&line.value))
    };
    match found {
        Ok(secret) => Some(Key {
            secret,
            source: format!("{}:{}: {}", file.display(), line.number, line.name),
            file: (line.name == VARIABLES[1]).then(|| PathBuf::from(&line.value)),
        }),
        Err(fault) => fail(fault),
    }
}

fn find_credential(problems: &mut Problems) -> Option<Key> {
    let path = PathBuf::from(std::env::var_os(CREDENTIALS_FOLDER)?).join(CREDENTIAL);
    if !path.exists() {
        return None;
    }

    match read(&path) {
        Ok(secret) => Some(Key {
            secret,
            source: format!("systemd's credential {CREDENTIAL}"),
            file: None,
        }),
        Err(fault) => {
            problems.add_variable(CREDENTIALS_FOLDER, fault);
            None
        }
    }
}

/// The key in the file at `path`.
///
/// # Errors
/// A sentence with the path.
pub(super) fn read(path: &Path) -> Result<Secret, Fault> {
    let key = Secret::read(path, read_private)?;
    let told = |message| Fault::from(format!("{}: {message}", path.display()));
    check(&key).map_err(told)?;
    Ok(key)
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
    if VARIABLES.iter().any(|name| key.starts_with(name)) {
        return Err("is a line of agent.env: the key must stand alone");
    }
    if key.len() > MAX_BYTES || !key.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err("is no key: a key is one word of printable ASCII characters");
    }
    Ok(())
}

/// The text of a private file, to which "others" have no access. The group may have
/// access: systemd has one for credentials, and the agent's user has one, too. A file that
/// was given read-only is as its maker wanted it: Docker's secrets have mode 444, and
/// nobody can change that.
pub(crate) fn read_private(path: &Path) -> io::Result<String> {
    let mode = fs::metadata(path)?.mode() & 0o777;
    if mode & 0o007 != 0 && !read_only::is_given(path) {
        let message = format!("its mode {mode:03o} lets everybody in: chmod o=");
        return Err(io::Error::new(ErrorKind::PermissionDenied, message));
    }
    let text = read_text(path, MAX_FILE_BYTES)?;
    Ok(text.trim_start_matches('\u{feff}').to_owned())
}

/// What became of agent.env.
enum EnvironmentFile {
    /// The lines about the key; none where there is no such file.
    Lines(Vec<Line>),
    /// The file is not for this user, who may do without.
    Hidden,
    /// The reason is among the problems.
    Useless,
}

/// Reads the key's lines in the environment file at `path`.
fn read_environment_file(path: &Path, problems: &mut Problems) -> EnvironmentFile {
    let error = match read_private(path) {
        Ok(text) => return EnvironmentFile::Lines(parse_environment(&text)),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return EnvironmentFile::Lines(Vec::new());
        }
        Err(error) if is_denied_by_system(&error) => return EnvironmentFile::Hidden,
        Err(error) => error,
    };
    problems.add(Problem::unreadable(path, &error));
    EnvironmentFile::Useless
}

/// Whether the system has denied the access. [`read_private`] has errors of the same kind
/// of its own, without a code of the system.
fn is_denied_by_system(error: &io::Error) -> bool {
    error.raw_os_error().is_some() && error.kind() == ErrorKind::PermissionDenied
}

/// Whether a line of agent.env sets the key.
pub(crate) fn is_key_line(line: &str) -> bool {
    !parse_environment(line).is_empty()
}

/// The lines `NAME=value` of the key, as systemd, shells and editors of other systems
/// write them: perhaps with `export`, quotes around the value, a byte order mark or
/// another system's line ends. All other lines are skipped.
fn parse_environment(text: &str) -> Vec<Line> {
    let lines = text.lines().enumerate();
    let parsed = lines.filter_map(|(index, line)| {
        let (name, value) = line.split_once('=')?;
        let name = name.trim();
        let exported = name.strip_prefix("export");
        let exported = exported.filter(|rest| rest.starts_with([' ', '\t']));
        let name = exported.map_or(name, str::trim);
        let name = VARIABLES.into_iter().find(|known| *known == name)?;

        let value = value.trim();
        let unquoted = QUOTES
            .into_iter()
            .find_map(|quote| value.strip_prefix(quote)?.strip_suffix(quote));
        Some(Line {
            number: index + 1,
            name,
            value: unquoted.unwrap_or(value).to_owned(),
        })
    });
    parsed.collect()
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
        let told = read(&path).unwrap_err().message;
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
    fn an_environment_file_is_read_as_people_write_it() {
        const KEY: &str = VARIABLES[0];
        const FILE: &str = VARIABLES[1];
        for (text, expected) in [
            ("AGENT_API_KEY=k=1", &[(1, KEY, "k=1")][..]),
            (
                "# AGENT_API_KEY=no\n;AGENT_API_KEY=no\n\n\
                 OTHER=x\n  AGENT_API_KEY = k \r\n",
                &[(5, KEY, "k")],
            ),
            (
                "AGENT_API_KEY=\"k\"\nAGENT_API_KEY='l'",
                &[(1, KEY, "k"), (2, KEY, "l")],
            ),
            (
                "AGENT_API_KEY_FILE=/k\nAGENT_API_KEY=",
                &[(1, FILE, "/k"), (2, KEY, "")],
            ),
            ("export\tAGENT_API_KEY=k\r\n", &[(1, KEY, "k")]),
            ("AGENT_API_KEY=\"k", &[(1, KEY, "\"k")]),
            ("export AGENT_API_KEY='k'\n", &[(1, KEY, "k")]),
            ("\texport   AGENT_API_KEY=k", &[(1, KEY, "k")]),
            ("exported AGENT_API_KEY=k", &[]),
            ("AGENT_API_KEY", &[]),
        ] {
            let lines = parse_environment(text);
            let told: Vec<_> = lines
                .iter()
                .map(|line| (line.number, line.name, line.value.as_str()))
                .collect();
            assert_eq!(told, expected, "{text:?}");
        }
    }
}
