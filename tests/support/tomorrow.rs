//! Messages of programs that are newer than this one.

use serde_json::{Value, json};

/// Maps whose keys belong to users: what is added there is no unknown field.
const USER_MAPS: &[&str] = &["labels", "annotations", "fields"];

/// The same message as a newer minor version would send it: every map in it has a field more.
///
/// # Panics
/// Panics where these bytes are no message.
pub fn of_a_newer_minor(message: &[u8]) -> Vec<u8> {
    let mut fields: Value = rmp_serde::from_slice(message).expect("MessagePack");
    assert!(add_unknown(&mut fields) > 0, "{fields}");
    rmp_serde::to_vec_named(&fields).expect("MessagePack")
}

/// Adds an unknown field to every map, and says how many there are.
pub fn add_unknown(value: &mut Value) -> usize {
    match value {
        Value::Object(map) => {
            let inner: usize = map
                .iter_mut()
                .filter(|(key, _)| !USER_MAPS.contains(&key.as_str()))
                .map(|(_, value)| add_unknown(value))
                .sum();
            map.insert("from_a_newer_minor".to_owned(), json!({"anything": [1, null]}));
            inner + 1
        }
        Value::Array(list) => list.iter_mut().map(add_unknown).sum(),
        _ => 0,
    }
}
