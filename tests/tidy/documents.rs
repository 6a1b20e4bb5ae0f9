//! Documents name only files that exist.

use std::path::Path;

const DOCUMENTS: &[&str] = &[
    "README.md",
    "docs/ARCHITECTURE.md",
    "docs/GLOSSARY.md",
    "docs/CHANGELOG.md",
    "docs/PROTOCOL.md",
    "docs/SECURITY.md",
    "docs/BENCHMARKS.md",
];

#[test]
fn documents_name_only_files_that_exist() {
    let mut missing = Vec::new();
    let mut named = 0;
    for document in DOCUMENTS {
        for quoted in crate::read(Path::new(document)).split('`').skip(1).step_by(2) {
            if is_path(quoted) {
                named += 1;
                if !crate::root().join(quoted).exists() {
                    missing.push(format!("{document}: {quoted}"));
                }
            }
        }
    }
    assert!(
        named > 10,
        "only {named} paths were found, so the reader is broken"
    );
    assert!(
        missing.is_empty(),
        "documents name files that do not exist: {missing:#?}"
    );
}

fn is_path(text: &str) -> bool {
    let folders = [
        "src/",
        "tests/",
        "entities/",
        "migration/",
        "config/",
        "compose/",
        "docs/",
    ];
    folders.iter().any(|folder| text.starts_with(folder)) && !text.contains([' ', '*', '<', '{'])
}
