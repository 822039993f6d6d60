//! What counts, where a configuration is valid.

use std::fmt;
use std::path::{Path, PathBuf};

use fleetbeat_settings::{list_drop_ins, show_duration, show_size};
use rustix::fs::statvfs;

use crate::accounts::Account;
use crate::bootstrap::{self, KeySource};
use crate::config::{self, Config, Storage};

/// What a server with this configuration works with; one line for each part.
pub(super) struct Summary<'a> {
    config: &'a Config,
    /// The files that were read, in their order.
    files: Vec<PathBuf>,
    agents_key: KeySource,
    secret_key: KeySource,
    /// Where the former secret key is from, if there is one.
    former_key: Option<String>,
    user: Option<&'a Account>,
}

impl Summary<'_> {
    /// `place_of` names the place of a variable, and `user` is who was asked if that was
    /// not the caller.
    pub(super) fn new<'a>(
        file: Option<&Path>,
        config: &'a Config,
        place_of: &dyn Fn(&str) -> String,
        user: Option<&'a Account>,
    ) -> Summary<'a> {
        let path = config::path(file);
        let own = path.exists().then(|| path.to_owned());
        let drop_ins = list_drop_ins(path).unwrap_or_default();
        let [agents_key, secret_key] = bootstrap::find_key_sources(config, place_of);

        Summary {
            config,
            files: own.into_iter().chain(drop_ins).collect(),
            agents_key,
            secret_key,
            former_key: config
                .secret_key_previous
                .as_ref()
                .map(|_| place_of("SECRET_KEY_PREVIOUS")),
            user,
        }
    }
}

impl fmt::Display for Summary<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let files: Vec<_> = self
            .files
            .iter()
            .map(|file| file.display().to_string())
            .collect();
        let files = match files.is_empty() {
            true => "none, so the defaults count".to_owned(),
            false => files.join(", "),
        };

        writeln!(f, "the configuration is valid")?;
        writeln!(f, "files:       {files}")?;
        writeln!(f, "listen:      {}", self.config.url())?;
        writeln!(f, "storage:     {}", show_storage(&self.config.storage))?;
        writeln!(f, "history:     {}", show_history(self.config))?;
        writeln!(f, "agents' key: {}", show_key(&self.agents_key))?;
        write!(f, "secret key:  {}", show_key(&self.secret_key))?;
        if let Some(place) = &self.former_key {
            write!(f, "\nformer key:  {place}")?;
        }
        if let Some(proxy) = &self.config.auth.proxy {
            write!(f, "\nlogins by:   password, and {}", proxy.show())?;
        }
        match self.user {
            Some(user) => write!(f, "\nasked as:    user {}", user.name),
            None => Ok(()),
        }
    }
}

/// The backend and its place, without a URL that could hold a password.
fn show_storage(storage: &Storage) -> String {
    match storage {
        Storage::Embedded { path } => format!("embedded, in {}", path.display()),
        Storage::MongoDb(settings) => {
            let redis = match settings.redis.is_empty() {
                true => "without Redis",
                false => "with Redis",
            };
            format!("mongodb, database {}, {redis}", settings.database)
        }
    }
}

/// Fleets for which an operator is told how long history reaches back.
const FLEETS: [u64; 4] = [10, 100, 1_000, 10_000];

/// How long heartbeats are kept, and for how many days there is room.
fn show_history(config: &Config) -> String {
    let (history, storage) = (&config.history, &config.storage);
    if !history.is_enabled {
        return "off".to_owned();
    }
    let keep = show_duration(history.keep);
    let Storage::Embedded { path } = storage else {
        return format!("{keep}, in MongoDB");
    };

    let (max_bytes, reason) = match history.max_bytes {
        Some(max_bytes) => (Some(max_bytes), ""),
        None => (find_room(path), ", half of what is free at the first start"),
    };
    let Some(max_bytes) = max_bytes else {
        return format!("{keep}{reason}");
    };
    let limits = history.limits(max_bytes);
    let days = FLEETS.map(|hosts| {
        let days = limits.days_that_fit(hosts).min(limits.keep_days.into());
        format!("{days} days of {hosts} hosts")
    });
    format!(
        "{keep}, at most {}{reason}: room for {}",
        show_size(max_bytes),
        days.join(", ")
    )
}

/// Half of what is free where the folder is, or will be, in bytes.
fn find_room(folder: &Path) -> Option<u64> {
    let disk = folder.ancestors().find_map(|path| statvfs(path).ok())?;
    Some((disk.f_bavail / 2).saturating_mul(disk.f_frsize))
}

fn show_key(source: &KeySource) -> String {
    match &source.ignored {
        Some(file) => {
            format!("{} ({} does not count)", source.counts, file.display())
        }
        None => source.counts.clone(),
    }
}
