//! The first start: what the server makes up where nothing is configured or stored yet.

use std::fmt;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use fleetbeat_daemon::clock;
use fleetbeat_protocol::Role;
use fleetbeat_settings::Secret;

use crate::accounts::Account;
use crate::auth::{AgentKeys, passwords};
use crate::config::{Config, Storage};
use crate::error::ServerError;
use crate::generated_key;
use crate::ownership;
use crate::secret_keys::SecretKeys;
use crate::secret_rules::{check_secret_key, find_short_agent_key, parse_agent_keys};
use crate::store::{Act, Conflict, StoreError, User, UserStore};
use crate::usernames::fold_username;

/// The name of the first superadmin.
const FIRST_ADMIN: &str = "admin";

/// The names of the keys' files in the embedded store's folder.
const AGENT_KEY: &str = "agent_api_key";
const SECRET_KEY: &str = "secret_key";

/// The keys that a server works with.
pub(crate) struct Keys {
    /// What agents send.
    pub(crate) agents: AgentKeys,
    /// What signs tokens and links, and seals the secrets of channels.
    pub(crate) secret: SecretKeys,
}

/// Refuses to serve as root on a folder of another user: the service could not use what
/// root makes there, and the password of the first start would be seen here alone.
///
/// # Errors
/// What to do instead.
pub(crate) fn refuse_root(config: &Config) -> Result<(), ServerError> {
    let Storage::Embedded { path } = &config.storage else {
        return Ok(());
    };
    let Some(uid) = ownership::find_other_owner(path) else {
        return Ok(());
    };

    let user = match Account::find_by_uid(Path::new("/"), uid) {
        Some(account) => account.name,
        None => format!("#{uid}"),
    };
    Err(ServerError::Root(format!(
        "{} belongs to the user {user}, and root is not to serve from it: start the \
         service (systemctl start fleetbeat-server), or call this as that user (sudo -u \
         '{user}' fleetbeat-server)",
        path.display()
    )))
}

/// The keys as configured, or as the embedded store keeps them in its folder, where they
/// are made on the first start.
///
/// # Errors
/// A key cannot be read, or may not be used.
pub(crate) fn find_keys(config: &Config) -> Result<Keys, ServerError> {
    let (agents, place) = find_key(config, config.agent_api_key.as_ref(), AGENT_KEY)?;
    let agents = AgentKeys::parse(agents.expose())
        .map_err(|message| ServerError::Key(format!("{place}: {message}")))?;

    let (secret, place) = find_key(config, config.secret_key.as_ref(), SECRET_KEY)?;
    check_secret_key(secret.expose())
        .map_err(|message| ServerError::Key(format!("{place}: {message}")))?;

    for source in find_key_sources(config, &given_by) {
        log::info!("{source}");
    }
    if config.secret_key_previous.is_some() {
        log::info!("what SECRET_KEY_PREVIOUS has signed and sealed is good, too");
    }
    if let Some(warning) = find_short_key(config) {
        log::warn!("{warning}");
    }
    let secret = SecretKeys::new(secret, config.secret_key_previous.clone());
    Ok(Keys { agents, secret })
}

/// The secret keys of the server, for a command beside it: no key is made.
///
/// # Errors
/// There is none, or it cannot be read.
pub(crate) fn read_secret_keys(config: &Config) -> Result<SecretKeys, ServerError> {
    let current = match (&config.secret_key, &config.storage) {
        (Some(key), _) => key.clone(),
        (None, Storage::Embedded { path }) => {
            let file = path.join(SECRET_KEY);
            let key = generated_key::load(&file).unwrap_or_else(|| {
                let file = file.display();
                Err(format!("{file}: there is no key that this user may read"))
            });
            key.map_err(ServerError::Key)?
        }
        (None, Storage::MongoDb(_)) => {
            return Err(ServerError::Key("SECRET_KEY must be set".to_owned()));
        }
    };
    Ok(SecretKeys::new(current, config.secret_key_previous.clone()))
}

/// Where a key that is given comes from when the server starts.
fn given_by(name: &str) -> String {
    format!("{name} of the environment")
}

/// Where a key comes from, and what does not count although it is there.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct KeySource {
    /// Which key it is.
    key: &'static str,
    /// The place that counts.
    pub(crate) counts: String,
    /// The file of the embedded store that does not count, because the key is given.
    pub(crate) ignored: Option<PathBuf>,
}

/// A sentence for the log.
impl fmt::Display for KeySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the {} is from {}", self.key, self.counts)?;
        match &self.ignored {
            Some(file) => write!(f, ", and {} does not count", file.display()),
            None => Ok(()),
        }
    }
}

/// The sources of both keys; `given_by` names the place of a variable.
pub(crate) fn find_key_sources(
    config: &Config,
    given_by: &dyn Fn(&str) -> String,
) -> [KeySource; 2] {
    let agents = (
        "agents' key",
        "AGENT_API_KEY",
        AGENT_KEY,
        &config.agent_api_key,
    );
    let secret = ("secret key", "SECRET_KEY", SECRET_KEY, &config.secret_key);

    [agents, secret].map(|(key, variable, file, given)| {
        let file = match &config.storage {
            Storage::Embedded { path } => Some(path.join(file)),
            Storage::MongoDb(_) => None,
        };
        let (counts, ignored) = match (given, file) {
            (None, Some(file)) => (file.display().to_string(), None),
            (_, file) => (given_by(variable), file.filter(|file| file.exists())),
        };
        KeySource {
            key,
            counts,
            ignored,
        }
    })
}

/// What is wrong with the keys that the embedded store has made, as far as this user may
/// read them. A key that is not there yet will be made.
pub(crate) fn find_wrong_keys(config: &Config) -> Vec<String> {
    let Storage::Embedded { path } = &config.storage else {
        return Vec::new();
    };

    let agents = config.agent_api_key.is_none().then(|| {
        let check = |keys: &str| parse_agent_keys(keys).map(drop);
        check_key_file(&path.join(AGENT_KEY), check)
    });
    let secret = config
        .secret_key
        .is_none()
        .then(|| check_key_file(&path.join(SECRET_KEY), check_secret_key));
    let checked = [agents, secret].into_iter().flatten();
    checked.filter_map(Result::err).collect()
}

/// Applies `rule` to the key in `file`, if there is one that this user may read.
fn check_key_file(
    file: &Path,
    rule: impl Fn(&str) -> Result<(), String>,
) -> Result<(), String> {
    let Some(key) = generated_key::load(file) else {
        return Ok(());
    };
    rule(key?.expose()).map_err(|message| format!("{}: {message}", file.display()))
}

/// What to tell about a key of agents that is too short; `None` if none is.
pub(crate) fn find_short_key(config: &Config) -> Option<String> {
    let (key, place) = match (&config.agent_api_key, &config.storage) {
        (Some(key), _) => (key.clone(), "AGENT_API_KEY".to_owned()),
        (None, Storage::Embedded { path }) => {
            let file = path.join(AGENT_KEY);
            let key = generated_key::load(&file)?.ok()?;
            (key, file.display().to_string())
        }
        (None, Storage::MongoDb(_)) => return None,
    };
    let warning = find_short_agent_key(key.expose())?;
    Some(format!("{place} {warning}"))
}

/// A key, and where it is from: the setting's name or the file's path.
fn find_key(
    config: &Config,
    given: Option<&Secret>,
    name: &str,
) -> Result<(Secret, String), ServerError> {
    match (given, &config.storage) {
        (Some(key), _) => Ok((key.clone(), name.to_owned())),
        (None, Storage::Embedded { path }) => {
            let file = path.join(name);
            let key = generated_key::load_or_create(&file).map_err(ServerError::Key)?;
            Ok((key, file.display().to_string()))
        }
        (None, Storage::MongoDb(_)) => {
            Err(ServerError::Key(format!("{name} must be set")))
        }
    }
}

/// Makes the superadmin `admin` if nobody could manage users otherwise: a user with
/// another role, whom a command has added before the first start, could not. A password
/// that was made up is printed once, on standard output, and kept nowhere.
///
/// # Errors
/// The store or standard output takes nothing.
pub(crate) fn create_first_admin(
    store: &dyn UserStore,
    config: &Config,
) -> Result<(), ServerError> {
    let users = store.users()?;
    if users.iter().any(|user| user.role == Role::Superadmin) {
        if config.admin_password.is_some() {
            log::info!(
                "FLEETBEAT_ADMIN_PASSWORD is for a first start, and there are users: it \
                 changes no password; `fleetbeat-server user passwd {FIRST_ADMIN}` does"
            );
        }
        return Ok(());
    }
    let is_first = |user: &User| fold_username(&user.username) == FIRST_ADMIN;
    if users.iter().any(is_first) {
        log::warn!(
            "no user is a superadmin, and {FIRST_ADMIN:?} is there with another role: \
             make one with `fleetbeat-server user add NAME --role superadmin`"
        );
        return Ok(());
    }

    let made_up = match &config.admin_password {
        Some(_) => None,
        None => Some(passwords::random()?),
    };
    let given = config.admin_password.as_ref().map(Secret::expose);
    let password = made_up.as_deref().or(given).unwrap_or_default();
    let hash = passwords::hash(password)?;
    let user = User::new(FIRST_ADMIN.to_owned(), Role::Superadmin, hash)?;

    // Before the user is in the store: a password that nobody has seen would lock
    // everybody out.
    if let Some(password) = &made_up {
        print_password(password).map_err(ServerError::Output)?;
    }

    let act = Act::program("first start", clock::now());
    match store.add_user(&user, &act) {
        // Another instance was faster.
        Err(StoreError::Conflict(Conflict::UserExists(_))) => Ok(()),
        result => Ok(result?),
    }
}

fn print_password(password: &str) -> io::Result<()> {
    let mut output = io::stdout();
    writeln!(
        output,
        "created user {FIRST_ADMIN} with password {password}"
    )?;
    output.flush()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::config::Purpose;
    use crate::store::HistorySettings;

    #[test]
    fn a_given_key_counts_and_the_file_that_does_not_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let toml = folder.path().join("server.toml");
        fs::write(&toml, format!("[storage]\npath = {:?}\n", folder.path())).unwrap();
        let given =
            |name: &str| (name == "AGENT_API_KEY").then(|| "a-key-of-the-tests".into());
        let config = Config::load(Some(&toml), Purpose::Administer, given).unwrap();
        let told = || find_key_sources(&config, &given_by).map(|key| key.to_string());

        let agents = "the agents' key is from AGENT_API_KEY of the environment";
        let file = |name: &str| folder.path().join(name).display().to_string();
        let secret = format!("the secret key is from {}", file(SECRET_KEY));
        assert_eq!(told(), [agents.to_owned(), secret.clone()]);

        fs::write(folder.path().join(AGENT_KEY), "another key").unwrap();
        let both = format!("{agents}, and {} does not count", file(AGENT_KEY));
        assert_eq!(told(), [both, secret]);
    }

    /// The users after a first start, where `before` had been added already.
    fn users_after_start(before: &[(&str, Role)]) -> Vec<(String, Role)> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().to_owned();
        let store =
            crate::store::open(&Storage::Embedded { path }, &HistorySettings::default())
                .unwrap();
        for (username, role) in before {
            let user = User::new((*username).to_owned(), *role, String::new());
            let user = user.unwrap();
            let act = Act::program("a test", clock::now());
            store.add_user(&user, &act).unwrap();
        }

        let toml = folder.path().join("server.toml");
        fs::write(&toml, "").unwrap();
        let mut config =
            Config::load(Some(&toml), Purpose::Administer, |_| None).unwrap();
        let password = || Ok("password of the tests".to_owned());
        let place = Path::new("a file");
        config.admin_password = Secret::read(place, |_| password()).ok();
        create_first_admin(&*store, &config).unwrap();
        let users = store.users().unwrap().into_iter();
        users.map(|user| (user.username, user.role)).collect()
    }

    #[test]
    fn a_first_start_makes_a_superadmin_where_there_is_none() {
        let user = |name: &str, role| (name.to_owned(), role);
        let admin = || user("admin", Role::Superadmin);
        for (before, after) in [
            (&[][..], vec![admin()]),
            (
                &[("bob", Role::Readonly)],
                vec![admin(), user("bob", Role::Readonly)],
            ),
            (
                &[("bob", Role::Admin)],
                vec![admin(), user("bob", Role::Admin)],
            ),
            (
                &[("eve", Role::Superadmin)],
                vec![user("eve", Role::Superadmin)],
            ),
            (
                &[("admin", Role::Readonly)],
                vec![user("admin", Role::Readonly)],
            ),
            (
                &[("Admin", Role::Readonly)],
                vec![user("Admin", Role::Readonly)],
            ),
        ] {
            assert_eq!(users_after_start(before), after, "{before:?}");
        }
    }
}
