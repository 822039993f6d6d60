//! `check-config`: everything with which `run` would not start, as far as that can be told
//! beforehand, and what is better to know.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use fleetbeat_settings::{Problem, Problems};

use crate::bootstrap;
use crate::config::{self, Config, Purpose, Storage};
use crate::error::ServerError;
use crate::listen::Listen;
use crate::{serve, store};

/// The settings that a variable replaces, because they may hold a password.
const VARIABLES: [(&str, &str); 2] =
    [("mongodb.url", "MONGODB_URL"), ("redis.url", "REDIS_URL")];
/// The folder that the service may write.
const SERVICE_FOLDER: &str = "/var/lib/fleetbeat";
/// The packaged service, and what an operator has added to it.
const UNIT: &str = "/usr/lib/systemd/system/fleetbeat-server.service";
const UNIT_DROP_INS: &str = "/etc/systemd/system/fleetbeat-server.service.d";

/// Says what is wrong, or that the configuration is fine.
///
/// # Errors
/// Everything that is wrong.
pub(super) fn check(
    file: Option<&Path>,
    variable: impl Fn(&str) -> Option<OsString>,
) -> Result<(), ServerError> {
    let (config, mut problems) = Config::read(file, Purpose::Serve, &variable);

    let mut add = |key: &str, message| {
        problems.add(locate(key, message, config::path(file), &variable));
    };
    for (key, message) in store::find_wrong_settings(&config.storage) {
        add(key, message);
    }
    if let Some(message) = explain_wrong_socket(&config.listen) {
        add("listen", message);
    }
    for message in bootstrap::find_wrong_keys(&config) {
        add("storage.path", message);
    }
    finish(problems)?;
    serve::load_certificates(&config)?;

    println!("the configuration is fine");
    let warnings = [
        bootstrap::find_short_key(&config),
        find_closed_folder(&config, Path::new(UNIT), Path::new(UNIT_DROP_INS)),
    ];
    for warning in warnings.into_iter().flatten() {
        eprintln!("warning: {warning}");
    }
    Ok(())
}

fn finish(problems: Problems) -> Result<(), ServerError> {
    Ok(problems.into_result()?)
}

/// A problem with a setting, at the variable that has replaced the setting if one has.
fn locate(
    key: &str,
    message: String,
    file: &Path,
    variable: &impl Fn(&str) -> Option<OsString>,
) -> Problem {
    let is_set = |name: &str| {
        let file = format!("{name}_FILE");
        variable(name).is_some() || variable(&file).is_some()
    };
    let replaced = VARIABLES
        .into_iter()
        .find(|(replaced, name)| *replaced == key && is_set(name));
    let (file, key) = match replaced {
        Some((_, name)) => ("environment".to_owned(), name),
        None => (file.display().to_string(), key),
    };
    Problem {
        file,
        line: None,
        key: key.to_owned(),
        message,
        is_temporary: false,
    }
}

/// Why nobody can listen there; `None` if somebody may.
fn explain_wrong_socket(listen: &Listen) -> Option<String> {
    let Listen::Unix(path) = listen else {
        return None;
    };
    if std::os::unix::net::SocketAddr::from_pathname(path).is_err() {
        return Some("has a path that is too long for a socket".to_owned());
    }
    let folder = path.parent()?;
    fs::metadata(folder)
        .is_ok_and(|folder| !folder.is_dir())
        .then(|| format!("{} is not a folder", folder.display()))
}

/// What to tell if the packaged service may not write the embedded store's folder;
/// `None` if it may, or is not there.
fn find_closed_folder(config: &Config, unit: &Path, drop_ins: &Path) -> Option<String> {
    let Storage::Embedded { path } = &config.storage else {
        return None;
    };
    let usual =
        fs::canonicalize(SERVICE_FOLDER).unwrap_or_else(|_| SERVICE_FOLDER.into());
    let real = fs::canonicalize(path).unwrap_or_else(|_| path.clone());
    let is_usual = path.starts_with(SERVICE_FOLDER) && usual == Path::new(SERVICE_FOLDER);
    if !unit.exists() || is_usual || is_named_in(drop_ins, &[path, &real]) {
        return None;
    }

    let real = real.display();
    Some(format!(
        "the service fleetbeat-server may write {SERVICE_FOLDER} only, and the data is in \
         {real}: give {real} to the user fleetbeat, and add with `systemctl edit \
         fleetbeat-server` the lines [Service] and ReadWritePaths={real}"
    ))
}

/// Whether a file of the unit's drop-ins names one of the paths.
fn is_named_in(drop_ins: &Path, paths: &[&PathBuf]) -> bool {
    let entries = fs::read_dir(drop_ins).into_iter().flatten().flatten();
    let mut texts = entries.filter_map(|entry| fs::read_to_string(entry.path()).ok());
    texts.any(|text| {
        let mut paths = paths.iter();
        paths.any(|path| text.contains(&*path.to_string_lossy()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_the_service_cannot_write_is_told_of() {
        let folder = tempfile::tempdir().unwrap();
        let (unit, drop_ins) = (folder.path().join("unit"), folder.path().join("unit.d"));
        let data = folder.path().join("data");
        let toml = folder.path().join("server.toml");
        fs::write(&toml, format!("[storage]\npath = {data:?}\n")).unwrap();
        let config = Config::load(Some(&toml), Purpose::Administer, |_| None).unwrap();
        let told = || find_closed_folder(&config, &unit, &drop_ins);

        assert_eq!(told(), None, "no service is installed");
        fs::write(&unit, "").unwrap();
        let warning = told().unwrap();
        assert!(
            warning.contains(&format!("ReadWritePaths={}", data.display())),
            "{warning}"
        );
        fs::create_dir(&drop_ins).unwrap();
        let text = format!("[Service]\nReadWritePaths={}\n", data.display());
        fs::write(drop_ins.join("override.conf"), text).unwrap();
        assert_eq!(told(), None, "the service may");
    }

    #[test]
    fn a_socket_has_a_folder_and_a_short_path() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        let explain = |path: PathBuf| explain_wrong_socket(&Listen::Unix(path));
        assert_eq!(explain(folder.path().join("s")), None);
        assert_eq!(explain("/nowhere/s".into()), None, "systemd may make it");
        let told = explain(file.join("s")).unwrap();
        assert!(told.ends_with("file is not a folder"), "{told}");
        assert!(explain(folder.path().join("s".repeat(108))).is_some());
    }
}
