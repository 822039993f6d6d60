//! `enroll`: gets this host a key of its own, and has the service use it.
//!
//! The steps are in an order in which a kill between any two of them leaves a host that
//! works as before, and the same call again goes on: the key is staged, the server takes
//! it, it goes into its file, the settings name the file, and only then the staged key
//! goes.

use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use fleetbeat_protocol::AgentId;
use fleetbeat_settings::Secret;

use super::call::{Verdict, ask};
use super::key_file::KeyFile;
use super::settings_files::{drop_in, name_key_file, write_drop_in};
use crate::config::{Config, place_in_environment};
use crate::delivery::spool;
use crate::host::{Host, Identity, Keeping, MACHINE_ID};
use crate::http::Client;
use crate::service::exit::AgentError;

/// Standard input is read up to here: more cannot be a code.
const MAX_CODE_BYTES: u64 = 4096;

/// What was asked for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Order {
    /// The server's URL; `None` for the one of the configuration.
    pub(crate) server: Option<String>,
    /// Where the code is.
    pub(crate) code: CodeFrom,
}

/// Where the code comes from.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum CodeFrom {
    /// The command line, which every user of the host can see.
    Argument(String),
    /// Standard input.
    Stdin,
}

/// A key that may become the host's.
struct Candidate {
    key: Secret,
    origin: Origin,
}

/// Where a candidate comes from.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Origin {
    /// It was made just now.
    New,
    /// An earlier call has staged it.
    Staged,
    /// The host sends its heartbeats with it, to the server that is asked.
    InUse,
}

/// Enrols this host, whose configuration is at `path`. Gives what to tell people.
///
/// # Errors
/// The host is not enrolled, or a file could not be written: the same call again goes on.
pub(crate) fn run(path: &Path, order: Order) -> Result<String, AgentError> {
    let drop_in = drop_in(path);
    let url = order.server.as_deref();
    let config =
        Config::load_for_enrollment(path, &drop_in, url).map_err(AgentError::Config)?;
    let file = KeyFile::in_folder(&config.spool);
    refuse_other_place(&config, &file)?;
    let code = read_code(order.code)?;

    let group = make_folder(&config.spool)?;
    let identity = identity_of(&config)?;
    let id = identity.kept().agent_id;
    let hostname = hostname_of(&config, &identity);

    let _lock = file.lock().map_err(AgentError::NotEnrolled)?;
    let is_same_server =
        url_in_force(path, &drop_in).as_ref() == Some(&config.server.url.base);
    let known = find_candidates(&file, id, is_same_server);
    let key = enroll(&config, &file, known, (id, &hostname), &code)?;
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| AgentError::File { path, source }
    };
    file.install(&key).map_err(failed(file.path()))?;
    if let Some(url) = url {
        name_server(path, &drop_in, url, group)?;
    }
    let env = path.with_extension("env");
    name_key_file(&env, file.path(), group).map_err(failed(&env))?;
    file.clear_staged();

    Ok(format!(
        "this host is enrolled at {} as {id}…; {} names its key, which is in {}.\n\
         The service takes it over by: systemctl reload fleetbeat-agent (where it runs), \
         or: systemctl enable --now fleetbeat-agent",
        config.server.url.base,
        env.display(),
        file.path().display(),
    ))
}

/// The key must have one place. agent.env is written anew; what agent.toml says is the
/// operator's, and so is what this process's environment says, as in a container.
fn refuse_other_place(config: &Config, file: &KeyFile) -> Result<(), AgentError> {
    if let Some(place) = place_in_environment(file.path()) {
        return Err(AgentError::NotEnrolled(format!(
            "{place} is a place of the key already: take it out, because the key of this \
             host will be in {}",
            file.path().display()
        )));
    }
    match (&config.server.key_source, &config.server.key_file) {
        (Some(_), Some(path)) if path == file.path() => Ok(()),
        (None, _) => Ok(()),
        (Some(source), _) => Err(AgentError::NotEnrolled(format!(
            "{source} is a place of the key already: take the line out, because the key \
             of this host will be in {}",
            file.path().display()
        ))),
    }
}

fn read_code(from: CodeFrom) -> Result<String, AgentError> {
    let code = match from {
        CodeFrom::Argument(code) => code,
        CodeFrom::Stdin => {
            let mut text = String::new();
            let mut input = io::stdin().take(MAX_CODE_BYTES);
            let doing = "cannot read the code from standard input";
            input
                .read_to_string(&mut text)
                .map_err(|source| AgentError::System { doing, source })?;
            text.trim().to_owned()
        }
    };
    if code.is_empty() {
        return Err(AgentError::Usage("the code is empty".to_owned()));
    }
    Ok(code)
}

/// Makes the state folder if it is not there: the package makes it, a tarball does not.
/// Gives the group of the agent.
fn make_folder(folder: &Path) -> Result<u32, AgentError> {
    let failed = |source| AgentError::File {
        path: folder.to_owned(),
        source,
    };
    if !folder.is_dir() {
        fs::create_dir_all(folder).map_err(failed)?;
        let private = std::os::unix::fs::PermissionsExt::from_mode(0o700);
        fs::set_permissions(folder, private).map_err(failed)?;
    }
    Ok(fs::metadata(folder).map_err(failed)?.gid())
}

/// The identity of this host, which is in its file for good: the key is bound to it.
fn identity_of(config: &Config) -> Result<Identity, AgentError> {
    let has_worked = spool::file_path(&config.spool).exists();
    let mut identity = Identity::load(&config.spool, Path::new(MACHINE_ID), has_worked);
    identity.save();
    if identity.is_saved() {
        return Ok(identity);
    }
    Err(AgentError::NotEnrolled(format!(
        "this host's identity cannot be kept in {}: call this as root",
        config.spool.display()
    )))
}

fn hostname_of(config: &Config, identity: &Identity) -> String {
    let host = Host::new(
        config.host.clone(),
        config.roots.clone(),
        config.server.way(),
        Keeping::Looker(Some(identity.kept())),
    );
    host.hostname()
}

/// Has the server take one of the known keys, or a new one; gives the key.
fn enroll(
    config: &Config,
    file: &KeyFile,
    known: Vec<Candidate>,
    (id, hostname): (AgentId, &str),
    code: &str,
) -> Result<Secret, AgentError> {
    let mut known = known.into_iter();
    let client = Client::new(&config.server);
    loop {
        let Candidate { key, origin } =
            known.next().map_or_else(|| stage_new(file, id), Ok)?;
        // No other server is to see a key: a server knows keys by their SHA-256.
        let shown = (origin == Origin::InUse).then(|| key.clone());
        match ask(&client.with_key(shown), id, &key, hostname, Some(code)) {
            Verdict::Taken => return Ok(key),
            // The key from before was revoked, or is not the one that counts.
            Verdict::Conflict(_) if origin != Origin::New => {}
            Verdict::Conflict(reason) | Verdict::Refused(reason) => {
                return Err(AgentError::NotEnrolled(reason));
            }
            Verdict::Unknown(reason) => {
                return Err(AgentError::NotEnrolled(format!(
                    "{reason}. Whether the server has taken the key is not known: call \
                     this again with the same code"
                )));
            }
        }
    }
}

/// The key that an earlier call has staged, and the key that this host has at the same
/// server.
fn find_candidates(file: &KeyFile, id: AgentId, is_same_server: bool) -> Vec<Candidate> {
    let of = |origin| move |key| Candidate { key, origin };
    let staged = file.staged(id).map(of(Origin::Staged));
    let in_use = file.current(id).filter(|_| is_same_server);
    staged
        .into_iter()
        .chain(in_use.map(of(Origin::InUse)))
        .collect()
}

fn stage_new(file: &KeyFile, id: AgentId) -> Result<Candidate, AgentError> {
    let key = file.stage(id).map_err(|source| AgentError::File {
        path: file.staged_path(),
        source,
    })?;
    Ok(Candidate {
        key,
        origin: Origin::New,
    })
}

/// The server's URL as the files have it.
fn url_in_force(config: &Path, drop_in: &Path) -> Option<String> {
    let config = Config::load_for_enrollment(config, drop_in, None).ok()?;
    Some(config.server.url.base)
}

/// Writes the drop-in, unless the files name this server already, and looks whether it
/// counts.
fn name_server(
    config: &Path,
    drop_in: &Path,
    url: &str,
    group: u32,
) -> Result<(), AgentError> {
    let url_in_force = || url_in_force(config, drop_in);
    let wanted = url.trim_end_matches('/');
    if url_in_force().as_deref() == Some(wanted) {
        return Ok(());
    }
    write_drop_in(drop_in, url, group).map_err(|source| AgentError::File {
        path: PathBuf::from(drop_in),
        source,
    })?;
    match url_in_force() {
        Some(url) if url != wanted => Err(AgentError::NotEnrolled(format!(
            "the server has taken the key, and a file behind {} names another server, \
             {url}: take the line out, and call this again",
            drop_in.display()
        ))),
        _ => Ok(()),
    }
}
