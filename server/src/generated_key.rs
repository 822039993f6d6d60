//! The keys that the server makes for itself, beside the embedded database, when none are
//! configured.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use fleetbeat_settings::Secret;

use crate::ownership::give_to_owner_of_folder;

/// The key in `file`. If there is no such file yet, a key is made and kept there, readable
/// by its owner alone.
///
/// # Errors
/// A sentence that names the file.
pub(crate) fn load_or_create(file: &Path) -> Result<Secret, String> {
    if !file.exists() {
        create(file).map_err(|error| format!("{}: {error}", file.display()))?;
    }
    read(file)
}

/// The key in `file`; `None` if there is none, or this user may not read it.
pub(crate) fn load(file: &Path) -> Option<Result<Secret, String>> {
    use io::ErrorKind::{NotADirectory, NotFound, PermissionDenied};
    match fs::metadata(file).and_then(|_| File::open(file)) {
        Err(error)
            if matches!(error.kind(), NotFound | NotADirectory | PermissionDenied) =>
        {
            None
        }
        _ => Some(read(file)),
    }
}

fn read(file: &Path) -> Result<Secret, String> {
    Secret::read(file, |path| fs::read_to_string(path)).map_err(|fault| fault.message)
}

/// Makes a key. The file is written under another name and renamed, so that a crash leaves
/// no half key behind. A key that root makes belongs to the folder's owner, as the
/// database does.
fn create(file: &Path) -> io::Result<()> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes)?;
    let key: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();

    let unfinished = file.with_extension("new");
    let mut output = File::options()
        .create(true)
        .truncate(true)
        .write(true)
        .mode(0o600)
        .open(&unfinished)?;
    give_to_owner_of_folder(&output, file)?;
    writeln!(output, "{key}")?;
    output.sync_all()?;

    fs::rename(&unfinished, file)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_key_is_made_once_and_kept_private() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("secret_key");
        let made = load_or_create(&file).unwrap();
        assert_eq!(made.expose().len(), 64);
        assert_eq!(load_or_create(&file).unwrap(), made);
        assert_eq!(
            fs::metadata(&file).unwrap().permissions().mode() & 0o777,
            0o600
        );

        fs::write(&file, "").unwrap();
        assert!(load_or_create(&file).unwrap_err().contains("secret_key"));
    }
}
