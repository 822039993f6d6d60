//! `check-config`: everything with which `run` would not start, as far as that can be told
//! beforehand, and what is better to know.

mod channels;
mod folder;
mod service;
mod standpoint;
mod summary;
mod variables;

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use fleetbeat_settings::{Problem, Problems};
use rustix::process::geteuid;

use self::service::Service;
use self::summary::Summary;
use self::variables::Variables;
use super::denied;
use crate::accounts::Account;
use crate::bootstrap;
use crate::config::{self, Config, Purpose, Storage};
use crate::error::ServerError;
use crate::listen::{self, Listen};
use crate::places::Database;
use crate::{serve, store};

/// The settings that a variable replaces, because they may hold a password.
const VARIABLES: [(&str, &str); 2] =
    [("mongodb.url", "MONGODB_URL"), ("redis.url", "REDIS_URL")];
/// The folder that the service may write.
const SERVICE_FOLDER: &str = "/var/lib/fleetbeat";

/// Says what is wrong, or what counts. Called by root, the rest of the process goes on as
/// the service's user.
///
/// # Errors
/// Everything that is wrong.
pub(super) fn check(
    file: Option<&Path>,
    variable: impl Fn(&str) -> Option<OsString>,
) -> Result<(), ServerError> {
    let root = Path::new("/");
    let service = Service::find(root, config::path(file));
    let environment = service.as_ref().map(|service| service.environment(root));
    let variables = Variables::new(variable, environment.unwrap_or_default());

    // As the caller, who may be root: the folder tells whose the service is.
    let storage = read(file, &variables).0.storage;
    let user =
        standpoint::take(root, service.as_ref(), &storage).map_err(ServerError::Start)?;

    let checked = Check {
        file,
        variables: &variables,
        service: service.as_ref(),
        user: user.as_ref(),
    };
    checked.run().map_err(|error| match &user {
        Some(user) => denied::advise_service(error, user),
        None => error,
    })
}

/// The variables of the caller, and behind them those of the service of this
/// configuration.
pub(super) fn variables<Own: Fn(&str) -> Option<OsString>>(
    file: Option<&Path>,
    own: Own,
) -> Variables<Own> {
    let root = Path::new("/");
    let service = Service::find(root, config::path(file));
    let environment = service.map(|service| service.environment(root));
    Variables::new(own, environment.unwrap_or_default())
}

fn read<Own: Fn(&str) -> Option<OsString>>(
    file: Option<&Path>,
    variables: &Variables<Own>,
) -> (Config, Problems) {
    Config::read(file, Purpose::Serve, |name| variables.value(name))
}

/// A configuration, and from where it is looked at.
struct Check<'a, Own> {
    file: Option<&'a Path>,
    variables: &'a Variables<Own>,
    /// The service of this configuration, if there is one on this machine.
    service: Option<&'a Service>,
    /// Who looks, if that is not the caller.
    user: Option<&'a Account>,
}

impl<Own: Fn(&str) -> Option<OsString>> Check<'_, Own> {
    fn run(&self) -> Result<(), ServerError> {
        let (config, mut problems) = read(self.file, self.variables);
        let variable = |name: &str| self.variables.value(name);
        for (key, message) in self.find_wrong(&config) {
            problems.add(locate(key, message, config::path(self.file), &variable));
        }
        problems.into_result()?;
        serve::load_certificates(&config)?;

        let place_of = |name: &str| self.variables.place(name);
        println!("{}", Summary::new(self.file, &config, &place_of, self.user));
        for warning in self.find_warnings(&config) {
            eprintln!("warning: {warning}");
        }
        Ok(())
    }

    /// What is wrong with values that are right by themselves, each with its key.
    fn find_wrong(&self, config: &Config) -> Vec<(&'static str, String)> {
        let mut wrong = store::find_wrong_settings(&config.storage);
        wrong.extend(explain_wrong_socket(&config.listen).map(|told| ("listen", told)));
        let keys = bootstrap::find_wrong_keys(config).into_iter();
        wrong.extend(keys.map(|told| ("storage.path", told)));
        wrong.extend(self.find_hidden(config));
        wrong.extend(self.find_closed(config));
        wrong
    }

    /// What the service does not see, because its unit hides it.
    fn find_hidden(&self, config: &Config) -> Vec<(&'static str, String)> {
        let storage = match &config.storage {
            Storage::Embedded { path } => Some(("storage.path", path)),
            Storage::MongoDb(_) => None,
        };
        let tls = config.tls.iter().flat_map(|tls| {
            [("tls.certificate", &tls.certificate), ("tls.key", &tls.key)]
        });

        let hidden = storage.into_iter().chain(tls).filter_map(|(key, path)| {
            let setting = self.service?.find_hiding(path)?;
            let path = path.display();
            Some((key, format!("{path} is hidden by the unit's {setting}=")))
        });
        hidden.collect()
    }

    /// What the service's user may not use, if that user looks.
    fn find_closed(&self, config: &Config) -> Vec<(&'static str, String)> {
        let Some(user) = self.user else {
            return Vec::new();
        };
        let is_given = |folder: &Path| {
            let owner = fs::metadata(folder).ok().map(|folder| folder.uid());
            self.service.is_some() && folder::is_given_by_unit(folder, owner, user.uid)
        };

        let storage = match &config.storage {
            Storage::Embedded { path } if !is_given(path) => {
                folder::find_closed(path, user)
            }
            _ => Vec::new(),
        };
        let socket = match &config.listen {
            Listen::Unix(path) => path.parent().filter(|folder| !is_given(folder)),
            Listen::Tcp(_) => None,
        };
        let socket =
            socket.and_then(|folder| folder::find_closed_for_socket(folder, user));

        let storage = storage.into_iter().map(|told| ("storage.path", told));
        storage.chain(socket.map(|told| ("listen", told))).collect()
    }

    /// What does not keep the server from starting for sure, and is better known.
    fn find_warnings(&self, config: &Config) -> Vec<String> {
        let warnings = [
            bootstrap::find_short_key(config),
            config.find_plain_network(),
            self.find_low_port(config),
            self.service
                .and_then(|service| find_closed_folder(config, service)),
            self.variables.find_closed(),
            self.find_wrong_places(config),
        ];
        let closed = channels::find_closed(config);
        warnings.into_iter().flatten().chain(closed).collect()
    }

    /// What to tell of a database of places that cannot be used. The server starts
    /// nevertheless.
    fn find_wrong_places(&self, config: &Config) -> Option<String> {
        let file = config.mmdb.as_deref()?;
        let shown = file.display();
        let hiding = self.service.and_then(|service| service.find_hiding(file));
        if let Some(setting) = hiding {
            return Some(format!(
                "geo.mmdb: {shown} is hidden by the unit's {setting}="
            ));
        }
        let opened = Database::open(file);
        let wrong = opened.and_then(|database| {
            let verified = database.verify();
            verified.map_err(|error| format!("{shown} is damaged: {error}"))
        });
        wrong.err().map(|error| format!("geo.mmdb: {error}"))
    }

    /// What to tell of a port that the kernel keeps for the privileged.
    fn find_low_port(&self, config: &Config) -> Option<String> {
        let redirect = config.tls.as_ref().and_then(|tls| tls.redirect_listen);
        let listen = match &config.listen {
            Listen::Tcp(address) => Some(*address),
            Listen::Unix(_) => None,
        };
        let ports = listen
            .into_iter()
            .chain(redirect)
            .map(|address| address.port());
        let first_free = listen::first_free_port();
        let port = ports
            .filter(|port| *port != 0)
            .find(|port| *port < first_free)?;

        let may = match self.service {
            Some(service) => service.may_take_low_ports(),
            None => geteuid().is_root(),
        };
        (!may).then(|| {
            format!(
                "port {port} needs the capability CAP_NET_BIND_SERVICE: add with \
                 `systemctl edit fleetbeat-server` the lines [Service], \
                 AmbientCapabilities=CAP_NET_BIND_SERVICE and \
                 CapabilityBoundingSet=CAP_NET_BIND_SERVICE"
            )
        })
    }
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
/// `None` if it may.
fn find_closed_folder(config: &Config, service: &Service) -> Option<String> {
    let Storage::Embedded { path } = &config.storage else {
        return None;
    };
    let usual =
        fs::canonicalize(SERVICE_FOLDER).unwrap_or_else(|_| SERVICE_FOLDER.into());
    let real = fs::canonicalize(path).unwrap_or_else(|_| path.clone());
    let is_usual = path.starts_with(SERVICE_FOLDER) && usual == Path::new(SERVICE_FOLDER);
    if is_usual || service.may_write(&[path, &real]) {
        return None;
    }

    let real = real.display();
    Some(format!(
        "the service fleetbeat-server may write {SERVICE_FOLDER} only, and the data is in \
         {real}: give {real} to the user fleetbeat, and add with `systemctl edit \
         fleetbeat-server` the lines [Service] and ReadWritePaths={real}"
    ))
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    #[test]
    fn a_folder_that_the_service_cannot_write_is_told_of() {
        let folder = tempfile::tempdir().unwrap();
        let units = folder.path().join("etc/systemd/system");
        let unit = units.join("fleetbeat-server.service");
        let data = folder.path().join("data");
        let toml = folder.path().join("server.toml");
        fs::write(&toml, format!("[storage]\npath = {data:?}\n")).unwrap();
        let config = Config::load(Some(&toml), Purpose::Administer, |_| None).unwrap();
        let told = || {
            let usual = Path::new("/etc/fleetbeat/server.toml");
            let service = Service::find(folder.path(), usual).unwrap();
            find_closed_folder(&config, &service)
        };

        fs::create_dir_all(&units).unwrap();
        fs::write(&unit, "").unwrap();
        let warning = told().unwrap();
        assert!(
            warning.contains(&format!("ReadWritePaths={}", data.display())),
            "{warning}"
        );
        let text = format!("[Service]\nReadWritePaths={}\n", data.display());
        fs::write(&unit, text).unwrap();
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
