//! The house rules that no compiler checks: sizes, layers, documents, licences.

mod documents;
mod layers;
mod licences;
mod sizes;

use std::path::{Path, PathBuf};

/// The workspace's root.
fn root() -> PathBuf {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    own.ancestors().nth(2).unwrap_or(own).to_path_buf()
}

/// Every Rust file of ours, relative to the root.
fn rust_files() -> Vec<PathBuf> {
    let mut files = Vec::new();
    for folder in ["src", "entities", "migration", "tests"] {
        collect(&root().join(folder), &mut files);
    }
    assert!(
        files.len() > 20,
        "the walk found only {} files, so it looks in the wrong place",
        files.len()
    );
    files.sort();
    files
        .iter()
        .map(|file| file.strip_prefix(root()).unwrap_or(file).to_path_buf())
        .collect()
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

fn read(file: &Path) -> String {
    std::fs::read_to_string(root().join(file)).unwrap()
}
