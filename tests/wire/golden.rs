//! Messages of protocol version 1 as other programs send and read them, in `tests/wire/golden/`. The bytes are published:
//! never edit a file, add one.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use crate::examples::{self, Example};

const HEX_DIGITS_PER_LINE: usize = 100;

fn folder() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/wire/golden"))
}

/// The bytes of a file: lines of hexadecimal digits, and lines of comment that begin with `#`.
pub(crate) fn unhex(text: &str) -> Vec<u8> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let digits: Vec<u8> = lines.flat_map(|line| line.trim().bytes()).collect();
    let pair = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.chunks(2).map(pair).collect()
}

fn hex(bytes: &[u8]) -> String {
    let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let lines = digits.as_bytes().chunks(HEX_DIGITS_PER_LINE);
    let lines: Vec<&str> = lines.map(|line| std::str::from_utf8(line).unwrap()).collect();
    format!("{}\n", lines.join("\n"))
}

/// The published bytes of every example; panics with what is to be published where a file is missing.
fn published() -> Vec<(Example, Vec<u8>)> {
    let mut missing = String::new();
    let mut found = Vec::new();
    for example in examples::all() {
        let file = folder().join(format!("{}.hex", example.file));
        match std::fs::read_to_string(&file) {
            Ok(text) => found.push((example, unhex(&text))),
            Err(_) => missing.push_str(&format!(
                "tests/wire/golden/{}.hex\n# {}, version 1\n{}",
                example.file,
                example.message,
                hex(&example.bytes)
            )),
        }
    }
    assert!(
        missing.is_empty(),
        "these messages have no published bytes; if they are new, publish:\n{missing}"
    );
    found
}

#[test]
fn published_bytes_are_read_as_what_they_are() {
    for (example, bytes) in published() {
        match example.reads(&bytes) {
            Ok(same) => assert!(same, "{} is read as another value", example.file),
            Err(error) => panic!("{} is not read any more: {error}", example.file),
        }
    }
}

#[test]
fn the_same_bytes_are_written() {
    for (example, bytes) in published() {
        assert_eq!(hex(&example.bytes), hex(&bytes), "{}", example.file);
    }
}

/// Every message of the protocol, found where it becomes one.
pub(crate) fn message_types() -> BTreeSet<String> {
    let source = include_str!("../../src/protocol/codec.rs");
    let names = source.lines().filter_map(|line| {
        let name = line
            .strip_prefix("impl Message for ")?
            .split_whitespace()
            .next()?;
        name.rsplit("::").next().map(str::to_owned)
    });
    let types: BTreeSet<String> = names.collect();
    assert!(
        types.len() >= 7,
        "only {types:?} were found, so the reader is broken"
    );
    types
}

#[test]
fn every_message_has_published_bytes() {
    let have: BTreeSet<String> = examples::all()
        .iter()
        .map(|example| example.message.to_owned())
        .collect();
    let lack: Vec<_> = message_types().difference(&have).cloned().collect();
    assert!(
        lack.is_empty(),
        "add examples of {lack:?} to tests/wire/examples.rs"
    );
    let full: BTreeMap<&str, usize> =
        examples::all()
            .iter()
            .filter(|example| example.full)
            .fold(BTreeMap::new(), |mut counts, example| {
                *counts.entry(example.message).or_default() += 1;
                counts
            });
    assert_eq!(
        full.len(),
        message_types().len(),
        "one full example each: {full:?}"
    );
}

#[test]
fn every_file_is_read_by_a_test() {
    let known: BTreeSet<String> = examples::all()
        .iter()
        .map(|example| format!("{}.hex", example.file))
        .collect();
    let files = std::fs::read_dir(folder()).unwrap();
    let files: BTreeSet<String> = files
        .map(|file| file.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    assert_eq!(files, known, "a published file without its value, or the reverse");
}
