//! The code that a task looks at: a folder, or a revision that git knows.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

use crate::error::XtaskError;

/// A folder with a revision of the repository.
pub struct Checkout {
    folder: PathBuf,
    /// Removes the folder of a revision at the end.
    _temporary: Option<TempDir>,
}

impl Checkout {
    /// The code that lies in `folder`.
    ///
    /// # Errors
    /// The folder is not there.
    pub fn of_folder(folder: &Path) -> Result<Checkout, XtaskError> {
        let folder = folder.canonicalize().map_err(XtaskError::read(folder))?;
        Ok(Checkout {
            folder,
            _temporary: None,
        })
    }

    /// The code of `revision` of the repository in `repository`, in a temporary folder.
    ///
    /// # Errors
    /// The revision is unknown, or there is no room for its files.
    pub fn of_revision(
        repository: &Path,
        revision: &str,
    ) -> Result<Checkout, XtaskError> {
        let temporary = tempfile::tempdir().map_err(XtaskError::write("/tmp"))?;
        let folder = temporary.path().canonicalize();
        let folder = folder.map_err(XtaskError::read(temporary.path()))?;

        let archive = folder.join("archive.tar");
        let mut git = Command::new("git");
        git.args(["archive", "--output"])
            .arg(&archive)
            .arg(revision);
        run(git.current_dir(repository))?;
        let mut tar = Command::new("tar");
        run(tar.arg("-xf").arg(&archive).current_dir(&folder))?;

        Ok(Checkout {
            folder,
            _temporary: Some(temporary),
        })
    }

    /// Where the code lies, without symbolic links on the way.
    pub fn folder(&self) -> &Path {
        &self.folder
    }
}

/// Runs a program that has to succeed.
fn run(command: &mut Command) -> Result<(), XtaskError> {
    let program = command.get_program().to_string_lossy().into_owned();
    let failed = |message: String| XtaskError::Program {
        program: program.clone(),
        message,
    };

    let output = command.stdin(Stdio::null()).output();
    let output = output.map_err(|error| failed(error.to_string()))?;
    if output.status.success() {
        Ok(())
    } else {
        let complaint = String::from_utf8_lossy(&output.stderr);
        Err(failed(complaint.trim_end().to_owned()))
    }
}
