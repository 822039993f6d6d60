//! The measurements of each package.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::error::XtaskError;
use crate::guard::undocumented;
use crate::measure::functions::Functions;
use crate::measure::prose::Prose;
use crate::measure::tokens::Tokens;
use crate::source::package::read_packages;
use crate::source::test_code::is_test_file;
use crate::source::text;
use crate::source::tree::Crate;

/// The measurements of one package, or of several together.
#[derive(Debug, Default, Clone)]
pub struct Measures {
    /// The package's name without the workspace's prefix.
    pub(crate) name: String,
    pub(crate) files: usize,
    pub(crate) tokens: Tokens,
    pub(crate) functions: Functions,
    pub(crate) prose: Prose,
    pub(crate) types: usize,
    /// The types without a doc comment: `file:line: name`.
    pub(crate) undocumented: Vec<String>,
}

impl Measures {
    /// Adds the measurements of another package.
    fn add(&mut self, other: &Measures) {
        self.files += other.files;
        self.tokens.add(&other.tokens);
        self.functions.add(&other.functions);
        self.prose.add(&other.prose);
        self.types += other.types;
        self.undocumented.extend_from_slice(&other.undocumented);
    }
}

/// Measures each package of the workspace in `folder` that has non-test code, and all
/// packages together.
///
/// # Errors
/// The workspace or one of its files cannot be read.
pub fn measure(folder: &Path) -> Result<Vec<Measures>, XtaskError> {
    let folder = folder.canonicalize().map_err(XtaskError::read(folder))?;
    let mut measured = Vec::new();
    let mut together = Measures {
        name: "together".to_owned(),
        ..Measures::default()
    };

    for package in read_packages(&folder)? {
        let name = package.short_name().to_owned();
        let mut measures = Measures {
            name,
            ..Measures::default()
        };
        let mut seen = BTreeSet::new();
        let roots = package.roots.iter();
        for root in roots.filter(|root| {
            let path = root.strip_prefix(&folder).unwrap_or(root);
            !is_test_file(path)
        }) {
            measure_crate(&Crate::read(&folder, root)?, &mut seen, &mut measures);
        }

        if !seen.is_empty() {
            together.add(&measures);
            measured.push(measures);
        }
    }
    measured.push(together);
    Ok(measured)
}

/// Adds the files of a crate that are not among those already `seen` in another crate of
/// the package.
fn measure_crate(of: &Crate, seen: &mut BTreeSet<PathBuf>, measures: &mut Measures) {
    let files = of.files.iter();
    let is_new: Vec<bool> = files
        .map(|file| !is_test_file(&file.path) && seen.insert(file.path.clone()))
        .collect();

    for (file, is_new) in of.files.iter().zip(&is_new) {
        if *is_new {
            let text = text::split(file);
            measures.files += 1;
            measures.tokens.add(&Tokens::of(&text));
            measures.prose.add(&Prose::of(&text));
        }
    }
    for module in of.modules.iter().filter(|module| is_new[module.file.0]) {
        let file = of.file(module.file);
        measures.functions.add_items(file, &module.items);
    }
    let types = undocumented::types(of).into_iter();
    for item in types.filter(|item| is_new[item.file.0]) {
        measures.types += 1;
        if !item.is_documented {
            measures.undocumented.push(item.place(of));
        }
    }
}
