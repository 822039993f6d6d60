//! `textfile`: the metrics in the `*.prom` files of a folder, as `node_exporter`'s
//! collector of that name reads them. Any program on the host may leave its numbers
//! there, so a file may be anything: huge, a pipe, half written. Each file that is not in
//! order is a [`PartError`]; the good lines and the other files count.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::time::{Instant, SystemTime};

use fleetbeat_settings::Table;
use rustix::fs::{Mode, OFlags, open};
use wildmatch::WildMatch;

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
    let include = options.parsed_list("include", parse_pattern);
    let exclude = options.parsed_list("exclude", parse_pattern);
    Some(Box::new(Textfile {
        folder: folder?,
        include,
        exclude: exclude.unwrap_or_default(),
        part_errors: Vec::new(),
    }))
}

/// A pattern of metrics.
fn parse_pattern(text: &str) -> Result<WildMatch, String> {
    if text.is_empty() {
        return Err("must be a metric's name or a pattern such as \"apt_*\"".to_owned());
    }
    Ok(WildMatch::new(text))
}

/// Reads all files anew for each sample.
struct Textfile {
    folder: PathBuf,
    /// Patterns of the metrics to take; `None` for all.
    include: Option<Vec<WildMatch>>,
    /// Patterns of the metrics to leave out.
    exclude: Vec<WildMatch>,
    part_errors: Vec<PartError>,
}

/// The metrics of a file, and when it was written.
struct Content {
    metrics: BTreeMap<String, f64>,
    modified: SystemTime,
    /// The first line that is not in order.
    error: Option<Error>,
}

impl Collector for Textfile {
    fn collect(&mut self, _now: Instant) -> Result<Option<Sample>, Error> {
        let names = find_files(&self.folder)
            .map_err(|source| Error::read(&self.folder, source))?;

        let mut series = Series::default();
        self.part_errors.clear();
        for (index, name) in names.into_iter().enumerate() {
            let shown = name.to_string_lossy().into_owned();
            let errors = if index < MAX_FILES {
                match read_file(&self.folder.join(&name)) {
                    Ok(content) => self.take(&mut series, &shown, content),
                    Err(error) => vec![error],
                }
            } else {
                let text = format!("is one of more than {MAX_FILES} files");
                vec![Error::Unknown(text)]
            };
            // The first is enough: the log has one line for each file.
            let error = errors.into_iter().next();
            self.part_errors
                .extend(error.map(|error| PartError { part: shown, error }));
            // The first file too many is named, the rest would say the same.
            if index == MAX_FILES {
                break;
            }
        }

        Ok(Some(Sample::Metrics(series.in_turns())))
    }

    fn part_errors(&mut self) -> Vec<PartError> {
        std::mem::take(&mut self.part_errors)
    }
}

impl Textfile {
    /// Takes up the chosen metrics of a file, but for those of which an earlier file has
    /// one of the same name. Gives what is not in order.
    fn take(&self, series: &mut Series, file: &str, content: Content) -> Vec<Error> {
        let since = content
            .modified
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        let label = prometheus_text::show_label("file", file);
        let written = format!("textfile_mtime_seconds{{{label}}}");

        let mut errors: Vec<_> = content.error.into_iter().collect();
        let mut chosen = Vec::new();
        if !self.is_excluded(&written) && !series.names.contains(&written) {
            chosen.push((written, since.as_secs() as f64));
        }
        for (name, value) in content.metrics {
            if self.is_excluded(&name) || !self.is_included(&name) {
                continue;
            }
            if series.names.contains(&name) {
                let message = "repeats a metric of another file".to_owned();
                let detail = Some(name.escape_debug().to_string());
                errors.push(Error::Detailed { message, detail });
            } else {
                chosen.push((name, value));
            }
        }

        series.add(chosen);
        errors
    }

    fn is_included(&self, series: &str) -> bool {
        let include = self.include.as_ref();
        include.is_none_or(|patterns| is_any(patterns, series))
    }

    fn is_excluded(&self, series: &str) -> bool {
        is_any(&self.exclude, series)
    }
}

/// Whether a pattern matches the series, or the series' name alone.
fn is_any(patterns: &[WildMatch], series: &str) -> bool {
    let name = series.split('{').next().unwrap_or_default();
    patterns
        .iter()
        .any(|pattern| pattern.matches(series) || pattern.matches(name))
}

/// The metrics of all files.
#[derive(Default)]
struct Series {
    names: BTreeSet<String>,
    /// The metrics of each file.
    files: Vec<Vec<(String, f64)>>,
}

impl Series {
    fn add(&mut self, metrics: Vec<(String, f64)>) {
        self.names
            .extend(metrics.iter().map(|(name, _)| name.clone()));
        self.files.push(metrics);
    }

    /// One metric of each file after the other, so that a file of hundreds does not take
    /// all the room of a heartbeat.
    fn in_turns(self) -> Vec<(String, f64)> {
        let mut numbered: Vec<_> = self
            .files
            .into_iter()
            .flat_map(|metrics| metrics.into_iter().enumerate())
            .collect();
        numbered.sort_by_key(|(turn, _)| *turn);
        numbered.into_iter().map(|(_, metric)| metric).collect()
    }
}

/// The names of the folder's `*.prom` files, sorted. Hidden files do not count, because
/// programs write there before they rename.
fn find_files(folder: &Path) -> io::Result<Vec<OsString>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name();
        let bytes = name.as_encoded_bytes();
        if bytes.ends_with(b".prom") && !bytes.starts_with(b".") {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

/// The metrics in the file.
fn read_file(path: &Path) -> Result<Content, Error> {
    let (text, modified) =
        read_regular_file(path).map_err(|source| Error::read(path, source))?;
    let (metrics, faults) = prometheus_text::parse_good_lines(&text);

    // A line that is left out is worse than a line that is not kept as a whole.
    let worst = faults.iter().position(|fault| fault.is_left_out);
    let error = faults.into_iter().nth(worst.unwrap_or(0));
    let error = error.map(|fault| Error::Detailed {
        message: if fault.is_left_out {
            "is left out in part".to_owned()
        } else {
            "is not kept as it is".to_owned()
        },
        detail: Some(fault.text),
    });
    Ok(Content {
        metrics,
        modified,
        error,
    })
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
    // What is not UTF-8 of a label becomes U+FFFD, and hides nothing else.
    let text = String::from_utf8_lossy(&bytes).into_owned();
    Ok((text, metadata.modified()?))
}
