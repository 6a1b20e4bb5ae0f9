//! docs/CONFIGURATION.md names every setting with its default and its variables, and nothing else.

use std::collections::BTreeMap;

use toml::{Table, Value};

use super::load::{DEFAULTS, OPTIONAL, flatten};
use super::variables::{classic_name, name_of};

const REFERENCE: &str = include_str!("../../../docs/CONFIGURATION.md");

#[test]
fn the_reference_names_every_setting() {
    let defaults = DEFAULTS.parse::<Table>().unwrap();
    let mut known = BTreeMap::new();
    flatten("", &defaults, &mut known);
    let mut expected: BTreeMap<String, String> = known
        .into_iter()
        .map(|(key, value): (String, Value)| (key, format!("`{value}`")))
        .collect();
    for (key, _) in OPTIONAL {
        expected.insert((*key).to_owned(), "not set".to_owned());
    }
    let mut rows = BTreeMap::new();
    for line in REFERENCE.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<&str> = line.trim_matches('|').split(" | ").map(str::trim).collect();
        let [key, default, variables, meaning] = cells.as_slice() else {
            panic!("a row has a key, a default, variables and a meaning: {line}");
        };
        let key = key.trim_matches('`').to_owned();
        assert!(meaning.len() > 10, "{key} has no meaning");
        let row = ((*default).to_owned(), (*variables).to_owned());
        assert!(rows.insert(key, row).is_none(), "twice: {line}");
    }
    for (key, default) in &expected {
        let own = format!("`{}`", name_of(key));
        let variables = match classic_name(key) {
            Some(classic) => format!("{own}, `{classic}`"),
            None => own,
        };
        let row = rows.remove(key);
        assert_eq!(
            row,
            Some((default.clone(), variables.clone())),
            "write into docs/CONFIGURATION.md: | `{key}` | {default} | {variables} | meaning |"
        );
    }
    assert!(rows.is_empty(), "settings that do not exist: {rows:?}");
}
