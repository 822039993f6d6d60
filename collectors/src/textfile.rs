//! `textfile`: the metrics in the `*.prom` files of a folder, as `node_exporter`'s
//! collector of that name reads them. Whatever else runs on the host may leave its
//! numbers there.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::time::{Instant, SystemTime};

use fleetbeat_settings::Table;
use rustix::fs::{Mode, OFlags, open};

use crate::{Collector, Error, Failure, Roots, Sample, prometheus_text};

/// Largest file, in bytes: a heartbeat has place for 64 metrics.
const MAX_FILE_BYTES: u64 = 64 * 1024;
/// Most files; each has a metric of its own.
const MAX_FILES: usize = 64;

pub(crate) fn build(
    options: &mut Table<'_>,
    _roots: &Roots,
) -> Option<Box<dyn Collector>> {
    options.require("folder");
    let folder = options.parsed("folder", |text| {
        let path = PathBuf::from(text);
        if path.is_absolute() {
            Ok(path)
        } else {
            Err("must be an absolute path".to_owned())
        }
    });
    Some(Box::new(Textfile {
        folder: folder?,
        failures: Vec::new(),
    }))
}

struct Textfile {
    folder: PathBuf,
    failures: Vec<Failure>,
}

impl Collector for Textfile {
    fn collect(&mut self, _now: Instant) -> Result<Option<Sample>, Error> {
        let failed = |source| Error::Read {
            path: self.folder.clone(),
            source,
        };
        let names = find_files(&self.folder).map_err(failed)?;
        let mut metrics = BTreeMap::new();
        self.failures.clear();
        for (index, name) in names.into_iter().enumerate() {
            let result = if index < MAX_FILES {
                read_file(&self.folder.join(&name), &name)
                    .and_then(|found| merge(&mut metrics, found))
            } else {
                Err(Error::Unknown(format!(
                    "is one of more than {MAX_FILES} files"
                )))
            };
            self.failures
                .extend(result.err().map(|error| Failure { part: name, error }));
            if index == MAX_FILES {
                break;
            }
        }
        Ok(Some(Sample::Metrics(metrics)))
    }

    fn failures(&mut self) -> Vec<Failure> {
        std::mem::take(&mut self.failures)
    }
}

/// The names of the files that are meant, in their order.
fn find_files(folder: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if name.ends_with(".prom") && !name.starts_with('.') {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

/// The metrics in the file, and when it was written.
fn read_file(path: &Path, name: &str) -> Result<BTreeMap<String, f64>, Error> {
    let failed = |source| Error::Read {
        path: path.to_owned(),
        source,
    };
    let (text, modified) = read_regular_file(path).map_err(failed)?;
    let mut metrics = prometheus_text::parse(&text).map_err(Error::Unknown)?;
    let since = modified
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    let series = format!(
        "textfile_mtime_seconds{{{}}}",
        prometheus_text::show_label("file", name)
    );
    metrics.insert(series, since.as_secs() as f64);
    Ok(metrics)
}

/// Waits for no other process: a pipe in that place is refused.
fn read_regular_file(path: &Path) -> io::Result<(String, SystemTime)> {
    let refused = |why: String| Err(io::Error::new(ErrorKind::InvalidData, why));
    // Looked at before it is opened, since opening some devices does something, and again
    // after: it may have been replaced meanwhile.
    let is_regular = fs::metadata(path)?.is_file();
    let file = is_regular.then(|| {
        open(
            path,
            OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC,
            Mode::empty(),
        )
    });
    let Some(file) = file.transpose()?.map(File::from) else {
        return refused("is no regular file".to_owned());
    };
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return refused("is no regular file".to_owned());
    }
    let mut bytes = Vec::new();
    file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return refused(format!("is larger than {MAX_FILE_BYTES} bytes"));
    }
    match String::from_utf8(bytes) {
        Ok(text) => Ok((text, metadata.modified()?)),
        Err(_) => refused("is no UTF-8 text".to_owned()),
    }
}

/// Adds what a file holds, unless an earlier one has some of it.
fn merge(
    metrics: &mut BTreeMap<String, f64>,
    found: BTreeMap<String, f64>,
) -> Result<(), Error> {
    if found.keys().any(|series| metrics.contains_key(series)) {
        return Err(Error::Unknown(
            "repeats a metric of another file".to_owned(),
        ));
    }
    metrics.extend(found);
    Ok(())
}
