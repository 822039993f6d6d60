//! The file store does what every store does.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use fleetbeat_history::{FileStore, Options, conformance};

#[test]
fn the_file_store_is_a_store() {
    let folder = tempfile::tempdir().unwrap();
    let mut number = 0;
    conformance::check(|| {
        number += 1;
        let file = folder.path().join(format!("{number}.db"));
        FileStore::new(&file, Options::default())
    });
}
