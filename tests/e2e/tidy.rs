//! The repository's own rules that the end-to-end tests have to look after: those of the
//! code are tests of `xtask`.

use std::collections::BTreeSet;
use std::fs;

#[test]
fn every_release_is_frozen_and_this_version_is_one() {
    let folder = crate::compatibility::folder();
    let releases: BTreeSet<String> = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();

    let version = env!("CARGO_PKG_VERSION");
    assert!(
        releases.contains(version),
        "{version} is not in {}: see CONTRIBUTING.md",
        folder.display()
    );

    let expected: BTreeSet<String> = crate::compatibility::files().into_iter().collect();
    for release in releases {
        let files = fs::read_dir(folder.join(&release)).unwrap();
        let files: BTreeSet<String> = files
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        assert_eq!(files, expected, "{release}");
    }
}
