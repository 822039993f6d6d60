//! Embeds the built dashboard: each file of `dashboard/dist`, as it is and compressed.

use std::fmt::Write as _;
use std::fs;
use std::hash::{DefaultHasher, Hasher};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;

fn main() {
    let dist = Path::new(env!("CARGO_MANIFEST_DIR")).join("../dashboard/dist");
    println!("cargo::rerun-if-changed={}", dist.display());
    let Ok(dist) = dist.canonicalize() else {
        println!("cargo::error=the dashboard is not built: run `make dashboard` first");
        return;
    };
    let out = PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    let mut table = String::from("static ASSETS: &[Asset] = &[\n");
    let mut files = Vec::new();
    find_files(&dist, &mut files);
    files.sort();
    for (index, file) in files.iter().enumerate() {
        let bytes =
            fs::read(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        let compressed = out.join(format!("{index}.gz"));
        fs::write(&compressed, gzip(&bytes))
            .unwrap_or_else(|error| panic!("{}: {error}", compressed.display()));
        let path = file
            .strip_prefix(&dist)
            .expect("found below dist")
            .to_str()
            .expect("Vite names files in ASCII");
        let mut hasher = DefaultHasher::new();
        hasher.write(&bytes);
        let _ = writeln!(
            table,
            "Asset {{ path: {path:?}, content_type: {:?}, etag: \"W/\\\"{:016x}\\\"\", \
             bytes: include_bytes!({file:?}), gzip: include_bytes!({compressed:?}) }},",
            content_type(file),
            hasher.finish(),
        );
    }
    table.push_str("];\n");
    fs::write(out.join("assets.rs"), table).expect("OUT_DIR is writable");
}

fn find_files(folder: &Path, files: &mut Vec<PathBuf>) {
    println!("cargo::rerun-if-changed={}", folder.display());
    let entries = fs::read_dir(folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    for entry in entries {
        let path = entry.expect("a readable folder").path();
        if path.is_dir() {
            find_files(&path, files);
        } else {
            println!("cargo::rerun-if-changed={}", path.display());
            files.push(path);
        }
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).expect("memory takes all");
    encoder.finish().expect("memory takes all")
}

fn content_type(file: &Path) -> &'static str {
    match file.extension().and_then(|extension| extension.to_str()) {
        Some("html") => "text/html; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("svg") => "image/svg+xml",
        Some("png") => "image/png",
        Some("ico") => "image/x-icon",
        Some("json" | "webmanifest") => "application/json",
        Some("woff2") => "font/woff2",
        _ => "application/octet-stream",
    }
}
