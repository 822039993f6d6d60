//! `textfile`: the metrics in the `*.prom` files of a folder, as `node_exporter`'s
//! collector of that name reads them. Any program on the host may leave its numbers
//! there, so a file may be anything: huge, a pipe, half written. Each file that is not in
//! order is a [`PartError`], and the others count.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::time::{Instant, SystemTime};

use fleetbeat_settings::Table;
use rustix::fs::{Mode, OFlags, open};

use crate::collector::{Collector, PartError, Roots, Sample};
use crate::error::Error;
use crate::prometheus_text;

/// Largest file, in bytes. That is plenty, because a heartbeat has place for 64 metrics.
const MAX_FILE_BYTES: u64 = 64 * 1024;
/// Most files. Each has a metric of its own, the time when the file was written.
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
        part_errors: Vec::new(),
    }))
}

/// Reads all files anew for each sample.
struct Textfile {
    folder: PathBuf,
    part_errors: Vec<PartError>,
}

impl Collector for Textfile {
    fn collect(&mut self, _now: Instant) -> Result<Option<Sample>, Error> {
        let names = find_files(&self.folder)
            .map_err(|source| Error::read(&self.folder, source))?;

        let mut metrics = BTreeMap::new();
        self.part_errors.clear();
        for (index, name) in names.into_iter().enumerate() {
            let result = if index < MAX_FILES {
                read_file(&self.folder.join(&name), &name)
                    .and_then(|found| merge(&mut metrics, found))
            } else {
                Err(Error::Unknown(format!(
                    "is one of more than {MAX_FILES} files"
                )))
            };
            self.part_errors
                .extend(result.err().map(|error| PartError { part: name, error }));
            // The first file too many is named, the rest would say the same.
            if index == MAX_FILES {
                break;
            }
        }

        Ok(Some(Sample::Metrics(metrics)))
    }

    fn part_errors(&mut self) -> Vec<PartError> {
        std::mem::take(&mut self.part_errors)
    }
}

/// The names of the folder's `*.prom` files, sorted. Hidden files do not count, because
/// programs write there before they rename.
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

/// The metrics in the file, and one more: when the file was written.
fn read_file(path: &Path, name: &str) -> Result<BTreeMap<String, f64>, Error> {
    let (text, modified) =
        read_regular_file(path).map_err(|source| Error::read(path, source))?;
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

/// The file's text and the time when it was written. Never waits for another process: a
/// pipe in the file's place is refused.
fn read_regular_file(path: &Path) -> io::Result<(String, SystemTime)> {
    let refused = |why: String| Err(io::Error::new(ErrorKind::InvalidData, why));
    // The type is looked at before the file is opened, because opening some devices does
    // something, and once more after, because the file may have been replaced meanwhile.
    let is_regular = fs::metadata(path)?.is_file();
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = is_regular.then(|| open(path, flags, Mode::empty()));
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

/// Adds a file's metrics, or none of them if an earlier file has one of the same name.
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
