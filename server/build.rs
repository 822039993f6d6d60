//! Embeds the built dashboard: each file of `dashboard/dist`, as it is and compressed.
//!
//! Where the dashboard is not built, a page that says so takes its place, so that work on
//! the server needs no Node. What is shipped sets `FLEETBEAT_REQUIRE_DASHBOARD=1`, and a
//! missing dashboard is then an error.

use std::fmt::Write as _;
use std::fs;
use std::hash::{DefaultHasher, Hasher};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;

/// Set, and not to `0`, where a placeholder must not be shipped.
const REQUIRE: &str = "FLEETBEAT_REQUIRE_DASHBOARD";

/// The page in the place of a dashboard that is not built.
const PLACEHOLDER: &str = "\
<!doctype html>
<html lang=\"en\">
<head>
<meta charset=\"utf-8\">
<title>Fleetbeat: the dashboard is not built</title>
</head>
<body>
<h1>The dashboard is not built</h1>
<p>This fleetbeat-server was built without its dashboard. The API works.
To get the dashboard, run <code>make dashboard</code> and build the server again.</p>
</body>
</html>
";

fn main() {
    println!("cargo::rerun-if-env-changed={REQUIRE}");
    let out = PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));

    let dashboard = Path::new(env!("CARGO_MANIFEST_DIR")).join("../dashboard");
    let dist = dashboard.join("dist");
    if dist.join("index.html").exists() {
        let dist = dist.canonicalize().expect("the folder exists");
        embed(&dist, &out);
        return;
    }

    // The whole folder, because cargo takes a path that does not exist for one that has
    // changed, and would build the server anew each time.
    println!("cargo::rerun-if-changed={}", dashboard.display());
    if std::env::var_os(REQUIRE).is_some_and(|value| value != "0") {
        println!("cargo::error=the dashboard is not built: run `make dashboard` first");
        return;
    }
    println!(
        "cargo::warning=the dashboard is not built, a page that says so takes its place: \
         run `make dashboard` to get it"
    );
    let placeholder = out.join("placeholder");
    write(&placeholder.join("index.html"), PLACEHOLDER.as_bytes());
    embed(&placeholder, &out);
}

/// Writes `assets.rs`: the table of all files in `dist`.
fn embed(dist: &Path, out: &Path) {
    let mut files = Vec::new();
    find_files(dist, &mut files);
    files.sort();

    let mut table =
        String::from("/// The dashboard's files.\nstatic ASSETS: &[Asset] = &[\n");
    for (index, file) in files.iter().enumerate() {
        let bytes =
            fs::read(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        let compressed = out.join(format!("{index}.gz"));
        write(&compressed, &gzip(&bytes));

        let path = file
            .strip_prefix(dist)
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

    write(&out.join("assets.rs"), table.as_bytes());
}

/// Writes the file, and makes its folder where there is none.
fn write(file: &Path, bytes: &[u8]) {
    let folder = file.parent().expect("a file is in a folder");
    fs::create_dir_all(folder)
        .and_then(|()| fs::write(file, bytes))
        .unwrap_or_else(|error| panic!("{}: {error}", file.display()));
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
