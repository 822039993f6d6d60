//! The last configuration that the running service has accepted, kept in the state
//! folder. If a mistake gets into agent.toml, the next start of the service (an upgrade,
//! a reboot) must not be its end: the service then goes on with what it had.
//!
//! The copy holds the text of agent.toml and of the files in agent.d, and no key: the key
//! is read from its own place at each start.

use std::env;
use std::io;
use std::path::{Path, PathBuf};

use fleetbeat_settings::{Document, Problems, list_drop_ins, read_text};

use super::{Config, ConfigError, KeyNeed, STATE_FOLDER};
use crate::service::owner::become_owner_of;
use crate::state_folder;

/// The copy's name in the state folder.
const FILE_NAME: &str = "accepted-configuration";
/// What stands before each file in the copy: the file's length and path.
const MARK: &str = "#= ";
/// A longer copy is another program's.
const MAX_BYTES: u64 = 4 << 20;

/// Keeps what the files say by which `config` was just made. Where there is no state
/// folder nothing is kept, and the spool says so already.
pub(crate) fn keep(path: &Path, config: &Config) {
    if config.spool != default_folder() && env::var_os("STATE_DIRECTORY").is_none() {
        return;
    }
    let copy = default_folder().join(FILE_NAME);
    let kept = read_files(path).and_then(|text| {
        let is_known = state_folder::read(&copy, MAX_BYTES).is_ok_and(|old| old == text);
        if is_known || !default_folder().is_dir() {
            return Ok(());
        }
        state_folder::replace(&copy, text.as_bytes())
    });
    if let Err(error) = kept {
        let shown = copy.display();
        log::warn!("{shown}: {error}: the accepted configuration is not kept");
    }
}

/// The configuration that was accepted last of the file at `path`; `None` if none is
/// kept. What the copy says is done with the rights of the user who can have written it,
/// so root becomes that user.
pub(crate) fn load(path: &Path, need: KeyNeed) -> Option<Result<Config, ConfigError>> {
    let copy = default_folder().join(FILE_NAME);
    become_owner_of(&default_folder());
    let text = state_folder::read_own(&copy, MAX_BYTES).ok()?;
    let files = parse(&text)?;

    let mut problems = Problems::default();
    let mut documents = files
        .iter()
        .map(|(name, text)| Document::parse(name, text, &mut problems));
    let mut document = documents.next()?;
    documents.for_each(|later| document.merge(later));
    let (first, _) = files.first()?;
    if Path::new(first) != path {
        return None;
    }
    Some(Config::read(path, &document, need, problems))
}

/// systemd names the folder. It cannot be the spool's: where the spool is stands in the
/// configuration, and that may be what is broken.
fn default_folder() -> PathBuf {
    let named = env::var("STATE_DIRECTORY").unwrap_or_default();
    match named.split(':').next() {
        Some(folder) if !folder.is_empty() => folder.into(),
        _ => STATE_FOLDER.into(),
    }
}

fn read_files(path: &Path) -> io::Result<String> {
    let mut copy = String::new();
    for file in [path.to_owned()].into_iter().chain(list_drop_ins(path)?) {
        let text = read_text(&file, MAX_BYTES)?;
        let (length, shown) = (text.len(), file.display());
        copy.push_str(&format!("{MARK}{length} {shown}\n{text}\n"));
    }
    Ok(copy)
}

/// Each file's path and text; `None` if the copy is damaged.
fn parse(copy: &str) -> Option<Vec<(&str, &str)>> {
    let (mut files, mut rest) = (Vec::new(), copy);
    while !rest.is_empty() {
        let (head, body) = rest.strip_prefix(MARK)?.split_once('\n')?;
        let (length, path) = head.split_once(' ')?;
        let (text, behind) = body.split_at_checked(length.parse().ok()?)?;
        rest = behind.strip_prefix('\n')?;
        files.push((path, text));
    }
    Some(files)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_copy_holds_every_file_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("agent.toml");
        let drop_in = folder.path().join("agent.d/10-a.toml");
        fs::create_dir(folder.path().join("agent.d")).unwrap();
        let texts = ["[server]\n#= 3 x\nurl = \"ü\"", "\n\n"];
        fs::write(&path, texts[0]).unwrap();
        fs::write(&drop_in, texts[1]).unwrap();

        let copy = read_files(&path).unwrap();
        let expected = [
            (path.to_str().unwrap(), texts[0]),
            (drop_in.to_str().unwrap(), texts[1]),
        ];
        assert_eq!(parse(&copy).unwrap(), expected);
        for length in 1..copy.len() {
            // A copy that breaks off between two files is the shorter configuration.
            let whole = copy
                .is_char_boundary(length)
                .then(|| parse(&copy[..length]));
            assert!(
                whole.flatten().is_none_or(|files| files.len() == 1),
                "{length}"
            );
        }
    }
}
