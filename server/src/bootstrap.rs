//! The first start: what the server makes up where nothing is configured or stored yet.

use std::io::{self, Write};

use fleetbeat_protocol::Role;
use fleetbeat_settings::Secret;

use crate::auth::{AgentKeys, passwords};
use crate::config::{Config, Storage};
use crate::error::ServerError;
use crate::generated_key;
use crate::secret_rules::check_secret_key;
use crate::store::{Conflict, StoreError, User, UserStore};

/// The keys that a server works with.
pub(crate) struct Keys {
    /// What agents send.
    pub(crate) agents: AgentKeys,
    /// What signs tokens.
    pub(crate) secret: Secret,
}

/// The keys as configured, or as the embedded store keeps them in its folder, where they
/// are made on the first start.
///
/// # Errors
/// A key cannot be read, or may not be used.
pub(crate) fn find_keys(config: &Config) -> Result<Keys, ServerError> {
    let (agents, place) =
        find_key(config, config.agent_api_key.as_ref(), "agent_api_key")?;
    let agents = AgentKeys::parse(agents.expose())
        .map_err(|message| ServerError::Key(format!("{place}: {message}")))?;

    let (secret, place) = find_key(config, config.secret_key.as_ref(), "secret_key")?;
    check_secret_key(secret.expose())
        .map_err(|message| ServerError::Key(format!("{place}: {message}")))?;

    Ok(Keys { agents, secret })
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

/// Makes the superadmin `admin` if nobody could log in otherwise. A password that was
/// made up is printed once, on standard output, and kept nowhere.
///
/// # Errors
/// The store or standard output takes nothing.
pub(crate) fn create_first_admin(
    store: &dyn UserStore,
    config: &Config,
) -> Result<(), ServerError> {
    if !store.users()?.is_empty() {
        return Ok(());
    }

    let made_up = match &config.admin_password {
        Some(_) => None,
        None => Some(passwords::random()?),
    };
    let given = config.admin_password.as_ref().map(Secret::expose);
    let password = made_up.as_deref().or(given).unwrap_or_default();
    let user = User {
        username: "admin".to_owned(),
        role: Role::Superadmin,
        hashed_password: passwords::hash(password)?,
        token_version: passwords::new_token_version()?,
    };

    // Before the user is in the store: a password that nobody has seen would lock
    // everybody out.
    if let Some(password) = &made_up {
        print_password(password).map_err(ServerError::Output)?;
    }

    match store.add_user(&user) {
        // Another instance was faster.
        Err(StoreError::Conflict(Conflict::UserExists(_))) => Ok(()),
        result => Ok(result?),
    }
}

fn print_password(password: &str) -> io::Result<()> {
    let mut output = io::stdout();
    writeln!(output, "created user admin with password {password}")?;
    output.flush()
}
