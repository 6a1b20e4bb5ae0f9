//! Files of at most 400 lines. Functions of at most 70 lines are clippy's part (`too_many_lines`).

const MAX_FILE_LINES: usize = 400;

#[test]
fn files_are_small() {
    let long: Vec<String> = crate::rust_files()
        .iter()
        .map(|file| (file, crate::read(file).lines().count()))
        .filter(|(_, lines)| *lines > MAX_FILE_LINES)
        .map(|(file, lines)| format!("{}: {lines}", file.display()))
        .collect();
    assert!(
        long.is_empty(),
        "files over {MAX_FILE_LINES} lines; find the seam: {long:#?}"
    );
}

#[test]
fn every_file_says_what_it_is_for() {
    let silent: Vec<_> = crate::rust_files()
        .into_iter()
        .filter(|file| !crate::read(file).starts_with("//!"))
        .collect();
    assert!(silent.is_empty(), "files without a module doc: {silent:#?}");
}
