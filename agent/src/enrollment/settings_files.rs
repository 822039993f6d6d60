//! The files in /etc that an enrolment writes: the key's place in agent.env, and the
//! server's URL in a drop-in of its own.

use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

use fleetbeat_settings::read_text;
use rustix::process::geteuid;

use crate::config::api_key::{VARIABLES, is_key_line};
use crate::config::name_server;
use crate::state_folder::{self, Owner};

/// The drop-in's name. It is behind the names that people give their own files, so that
/// its URL counts.
const DROP_IN: &str = "90-enrolled.toml";
/// A longer file holds something else.
const MAX_BYTES: u64 = 64 << 10;
/// Who may read a new file: root, and the agent's group.
const MODE: u32 = 0o640;

/// The drop-in of the configuration at `config`.
pub(super) fn drop_in(config: &Path) -> PathBuf {
    config.with_extension("d").join(DROP_IN)
}

/// Writes the drop-in at `path` that names the server. `group` is the agent's.
///
/// # Errors
/// The file stays as it was.
pub(super) fn write_drop_in(path: &Path, url: &str, group: u32) -> io::Result<()> {
    if let Some(folder) = path.parent()
        && !folder.is_dir()
    {
        fs::create_dir(folder)?;
        fs::set_permissions(folder, fs::Permissions::from_mode(0o750))?;
        if geteuid().is_root() {
            chown(folder, Some(0), Some(group))?;
        }
    }
    let text = format!(
        "# Written by `fleetbeat-agent enroll`: the server that has this host's key.\n{}",
        name_server(url)
    );
    write(path, &text, group)
}

/// Makes the file agent.env at `path` name `key_file` as the place of the key, and no
/// other place. `group` is the agent's. What else is in the file stays.
///
/// # Errors
/// The file stays as it was.
pub(super) fn name_key_file(path: &Path, key_file: &Path, group: u32) -> io::Result<()> {
    let text = match read_text(path, MAX_BYTES) {
        Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
        text => text?,
    };
    let line = format!("{}={}", VARIABLES[1], key_file.display());
    let new = with_key_line(&text, &line);
    if new == text {
        return Ok(());
    }
    write(path, &new, group)
}

/// `text` with `line` in place of its lines about the key.
fn with_key_line(text: &str, line: &str) -> String {
    let mut lines: Vec<&str> = text.lines().collect();
    let place = lines.iter().position(|line| is_key_line(line));
    lines.retain(|line| !is_key_line(line));
    lines.insert(place.unwrap_or(lines.len()), line);
    let mut new = lines.join("\n");
    new.push('\n');
    new
}

/// Replaces a settings file. Owner and mode of an older one stay, but for a mode that lets
/// everybody in.
/// A link leads to the file.
fn write(path: &Path, text: &str, group: u32) -> io::Result<()> {
    let path = &fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let (owner, mode) = match fs::metadata(path) {
        Ok(old) => ((old.uid(), old.gid()), old.mode() & 0o770),
        Err(_) => ((geteuid().as_raw(), group), MODE),
    };
    let owner = if geteuid().is_root() {
        Owner::Id(owner.0, owner.1)
    } else {
        Owner::Caller
    };
    state_folder::replace_as(path, text.as_bytes(), mode, owner)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn agent_env_names_the_file_of_the_key_and_no_other_place() {
        const LINE: &str = "AGENT_API_KEY_FILE=/k";
        for (text, expected) in [
            ("", "AGENT_API_KEY_FILE=/k\n"),
            (
                "# The key.\n#AGENT_API_KEY=\n",
                "# The key.\n#AGENT_API_KEY=\nAGENT_API_KEY_FILE=/k\n",
            ),
            (
                "A=1\nAGENT_API_KEY=secret\nB=2",
                "A=1\nAGENT_API_KEY_FILE=/k\nB=2\n",
            ),
            (
                "export AGENT_API_KEY='x'\nAGENT_API_KEY_FILE=/old\nB=2\n",
                "AGENT_API_KEY_FILE=/k\nB=2\n",
            ),
            ("AGENT_API_KEY_FILE=/k\n", "AGENT_API_KEY_FILE=/k\n"),
        ] {
            assert_eq!(with_key_line(text, LINE), expected, "{text:?}");
        }
    }

    #[test]
    fn a_settings_file_keeps_its_mode_and_lets_nobody_else_in() {
        let folder = tempfile::tempdir().unwrap();
        let (env, key) = (folder.path().join("agent.env"), Path::new("/state/key"));
        let group = fs::metadata(folder.path()).unwrap().gid();
        let mode = || fs::metadata(&env).unwrap().mode() & 0o777;

        name_key_file(&env, key, group).unwrap();
        assert_eq!(mode(), 0o640);
        for (before, after) in [(0o600, 0o600), (0o640, 0o640), (0o644, 0o640)] {
            fs::write(&env, "AGENT_API_KEY=secret\n").unwrap();
            fs::set_permissions(&env, fs::Permissions::from_mode(before)).unwrap();
            name_key_file(&env, key, group).unwrap();
            assert_eq!(mode(), after, "{before:o}");
        }
        let text = fs::read_to_string(&env).unwrap();
        assert_eq!(text, "AGENT_API_KEY_FILE=/state/key\n");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn the_drop_in_names_the_server() {
        let folder = tempfile::tempdir().unwrap();
        let path = drop_in(&folder.path().join("agent.toml"));
        let group = fs::metadata(folder.path()).unwrap().gid();
        write_drop_in(&path, "https://fleet.example.com", group).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        assert!(
            text.ends_with("[server]\nurl = \"https://fleet.example.com\"\n"),
            "{text}"
        );
        assert_eq!(path, folder.path().join("agent.d/90-enrolled.toml"));
    }
}
