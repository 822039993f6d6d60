//! Where addresses are, as far as a database says that the operator names.
//!
//! Such databases are often wrong about addresses of data centres, so they only fill what
//! neither the agent nor an admin has said. Fleetbeat brings none along.

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use fleetbeat_daemon::condition::Condition;
use fleetbeat_daemon::lock::lock;
use log::Level;
use maxminddb::{LookupResult, PathElement, Reader, path};

use crate::recurring::log_if_due;

/// The file is looked at again after so long.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// What a database says of an address. What it does not say is empty.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Place {
    /// ISO 3166 alpha-2.
    pub(crate) country_code: String,
    pub(crate) country: String,
    pub(crate) city: String,
    /// Degrees north and east.
    pub(crate) coordinates: Option<(f64, f64)>,
}

/// The operator's database, if there is one, read again when its file changes.
#[derive(Debug)]
pub(crate) struct Places {
    file: Option<PathBuf>,
    opened: Mutex<Opened>,
}

/// What is known of the file.
#[derive(Debug, Default)]
struct Opened {
    database: Option<Arc<Database>>,
    /// When the file was changed last, and its size, when it was read last.
    version: Option<(SystemTime, u64)>,
    looked: Option<Instant>,
    trouble: Condition,
}

/// A database in memory.
#[derive(Debug)]
pub(crate) struct Database(Reader<Vec<u8>>);

impl Places {
    /// The database in `file`; none where there is no file.
    pub(crate) fn new(file: Option<PathBuf>) -> Places {
        Places {
            file,
            opened: Mutex::default(),
        }
    }

    /// The database as it is now. As long as its file cannot be read, the one before, and
    /// the log says so.
    pub(crate) fn database(&self) -> Option<Arc<Database>> {
        let file = self.file.as_deref()?;
        let mut opened = lock(&self.opened);
        if opened.looked.is_none_or(|at| at.elapsed() >= LOOK_EVERY) {
            opened.look(file);
            opened.looked = Some(Instant::now());
        }
        opened.database.clone()
    }
}

impl Opened {
    fn look(&mut self, file: &Path) {
        let version = fs::metadata(file).and_then(|metadata| {
            let changed = metadata.modified()?;
            Ok((changed, metadata.len()))
        });
        let version = version.ok();
        if version.is_some() && version == self.version {
            return;
        }

        match Database::open(file) {
            Ok(database) => {
                self.database = Some(Arc::new(database));
                if self.trouble.ends() {
                    log::info!("places are known again: {} is read", file.display());
                }
            }
            Err(error) => {
                if self.trouble.begins(error.clone()) {
                    log::warn!("geo.mmdb: {error}: hosts without a place stay so");
                }
            }
        }
        // A file that is damaged is read again when it changes, and one that is closed when
        // it can be opened.
        self.version = version.filter(|_| fs::File::open(file).is_ok());
    }
}

impl Database {
    /// Reads a file.
    ///
    /// # Errors
    /// What is wrong with the file.
    pub(crate) fn open(file: &Path) -> Result<Database, String> {
        let shown = file.display();
        let bytes =
            fs::read(file).map_err(|error| format!("cannot read {shown}: {error}"))?;
        let reader = Reader::from_source(bytes)
            .map_err(|error| format!("{shown} is not a database of places: {error}"))?;
        Ok(Database(reader))
    }

    /// Looks at all of the database.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn verify(&self) -> Result<(), String> {
        self.0.verify().map_err(|error| error.to_string())
    }

    /// What the database says of the address; nothing where it is damaged, which the log
    /// says.
    pub(crate) fn find(&self, ip: IpAddr) -> Place {
        // A database of IPv4 knows nothing of IPv6.
        if ip.is_ipv6() && self.0.metadata().ip_version == 4 {
            return Place::default();
        }
        match self.0.lookup(ip) {
            Ok(found) if found.has_data() => read(&found),
            Ok(_) => Place::default(),
            Err(error) => {
                let line = || format!("geo.mmdb is damaged: {error}");
                log_if_due(Level::Warn, "damaged places", &error.to_string(), line);
                Place::default()
            }
        }
    }
}

/// What the database has for an address.
type Found<'a> = LookupResult<'a, Vec<u8>>;

/// Reads either form: `MaxMind`'s nested one, and a flat one.
fn read(found: &Found<'_>) -> Place {
    let text = |nested: &[PathElement<'_>], flat: &[PathElement<'_>]| {
        let text = |path| found.decode_path::<&str>(path).ok().flatten();
        let text = text(nested).or_else(|| text(flat));
        text.unwrap_or_default().to_owned()
    };
    let number = |nested: &[PathElement<'_>], flat: &[PathElement<'_>]| {
        let number = |path| found.decode_path::<f64>(path).ok().flatten();
        number(nested).or_else(|| number(flat))
    };
    let latitude = number(&path!["location", "latitude"], &path!["latitude"]);
    let longitude = number(&path!["location", "longitude"], &path!["longitude"]);
    Place {
        country_code: text(&path!["country", "iso_code"], &path!["country_code"]),
        country: text(&path!["country", "names", "en"], &path!["country_name"]),
        city: text(&path!["city", "names", "en"], &path!["city"]),
        coordinates: latitude.zip(longitude).filter(is_on_earth),
    }
}

fn is_on_earth((latitude, longitude): &(f64, f64)) -> bool {
    (-90.0..=90.0).contains(latitude) && (-180.0..=180.0).contains(longitude)
}
