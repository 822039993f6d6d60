//! The file with the host's own key, and beside it the key that is about to follow.
//!
//! A new key is staged first: it is on the disk for good before the server hears of it.
//! Once the server has taken the key, the key goes into the file. The staged one stays
//! until everything is done, so that whoever begins again after a kill goes on with it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use fleetbeat_protocol::{AGENT_KEY_SECRET_BYTES, AgentId, new_agent_key, owner_of_key};
use fleetbeat_settings::Secret;

use crate::state_folder::{self, Lock};

/// The file's name in the state folder.
const NAME: &str = "key";
/// What the name of a staged key ends in.
const STAGED: &str = "staged";
/// What the name of the lock ends in.
const LOCK: &str = "lock";
/// A longer file holds something else.
const MAX_BYTES: u64 = 1024;

/// Where the host's own key is.
#[derive(Debug, Clone)]
pub(crate) struct KeyFile {
    path: PathBuf,
}

impl KeyFile {
    /// The file in the state folder.
    pub(crate) fn in_folder(folder: &Path) -> KeyFile {
        KeyFile::at(folder.join(NAME))
    }

    /// The file at `path`.
    pub(crate) fn at(path: PathBuf) -> KeyFile {
        KeyFile { path }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Keeps other processes of the agent from changing the key.
    ///
    /// # Errors
    /// A sentence: another process changes it, or nothing can be written beside the file.
    pub(super) fn lock(&self) -> Result<Lock, String> {
        let path = self.path.with_extension(LOCK);
        Lock::of_file(&path).map_err(|error| match error.kind() {
            io::ErrorKind::TimedOut => {
                "another fleetbeat-agent is changing this host's key".to_owned()
            }
            _ => format!("{}: {error}", path.display()),
        })
    }

    /// The key of the host `id` that is in the file.
    pub(super) fn current(&self, id: AgentId) -> Option<Secret> {
        read(&self.path, id)
    }

    /// The key of the host `id` that was staged earlier.
    pub(super) fn staged(&self, id: AgentId) -> Option<Secret> {
        read(&self.staged_path(), id)
    }

    /// Makes a key and stages it.
    ///
    /// # Errors
    /// The key is not on the disk, or the system gives no random numbers.
    pub(super) fn stage(&self, id: AgentId) -> io::Result<Secret> {
        let mut secret = [0; AGENT_KEY_SECRET_BYTES];
        getrandom::fill(&mut secret).map_err(io::Error::other)?;
        let key =
            Secret::from_text(new_agent_key(id, secret)).map_err(io::Error::other)?;
        write(&self.staged_path(), &key)?;
        Ok(key)
    }

    /// Makes `key` the key of the file.
    ///
    /// # Errors
    /// The file stays as it was.
    pub(super) fn install(&self, key: &Secret) -> io::Result<()> {
        write(&self.path, key)
    }

    /// Everything is done with the staged key.
    pub(super) fn clear_staged(&self) {
        let _ = fs::remove_file(self.staged_path());
    }

    pub(super) fn staged_path(&self) -> PathBuf {
        self.path.with_extension(STAGED)
    }
}

fn read(path: &Path, id: AgentId) -> Option<Secret> {
    let text = state_folder::read(path, MAX_BYTES).ok()?;
    let key = text.trim_end().to_owned();
    let is_own = owner_of_key(&key) == Some(id);
    Secret::from_text(key).ok().filter(|_| is_own)
}

fn write(path: &Path, key: &Secret) -> io::Result<()> {
    state_folder::replace(path, format!("{}\n", key.expose()).as_bytes())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn a_key_is_staged_installed_and_then_the_one_that_counts() {
        let folder = tempfile::tempdir().unwrap();
        let file = KeyFile::in_folder(folder.path());
        let (id, other) = (AgentId::from_bits(7), AgentId::from_bits(8));
        assert!(file.current(id).is_none() && file.staged(id).is_none());

        let key = file.stage(id).unwrap();
        assert_eq!(file.staged(id), Some(key.clone()));
        assert_eq!(file.staged(other), None, "a copied disk has another id");
        assert!(file.current(id).is_none());

        file.install(&key).unwrap();
        file.clear_staged();
        assert_eq!(file.current(id), Some(key.clone()));
        assert_eq!(file.staged(id), None);
        let mode = fs::metadata(folder.path().join(NAME)).unwrap().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_ne!(file.stage(id).unwrap(), key, "each key is another one");
    }

    #[test]
    fn what_is_not_a_key_of_this_host_counts_as_none() {
        let folder = tempfile::tempdir().unwrap();
        let file = KeyFile::in_folder(folder.path());
        let id = AgentId::from_bits(7);
        for text in ["", "fbk_", "the-key-of-all-hosts\n", &"x".repeat(2000)] {
            fs::write(file.path(), text).unwrap();
            assert_eq!(file.current(id), None, "{text:?}");
        }
    }
}
