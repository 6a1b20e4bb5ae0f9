//! Rows that no version of the program writes.

use streamkeeper_core::spec::StreamSpec;
use streamkeeper_protocol::Epoch;

use super::backend::{Backend, assignment, lead, on_both, stream};

on_both!(a_bad_row_is_reported_and_the_rest_loads);

const COLUMNS: &str = "INSERT INTO stream (name, source, enabled, weight, priority, ownership, labels, requires, \
                       on_owner_lost, lost_after_ms) VALUES";
const STREAMS: &str = "('good', 'x', true, 1.0, 0, 'available', '{}', '{}', 'replace', -1), \
                       ('owner', 'x', true, 1.0, 0, 'mine', '{}', '{}', 'replace', -1), \
                       ('policy', 'x', true, 1.0, 0, 'available', '{}', '{}', 'keep', -1), \
                       ('after', 'x', true, 1.0, 0, 'available', '{}', '{}', 'replace', -2), \
                       ('label', 'x', true, 1.0, 0, 'available', '[]', '{}', 'replace', -1), \
                       ('weight', 'x', true, 0.0, 0, 'available', '{}', '{}', 'replace', -1), \
                       ('na.me', 'x', true, 1.0, 0, 'available', '{}', '{}', 'replace', -1)";
const ASSIGNMENTS: &str = "INSERT INTO assignment VALUES ('good', 'w', '00000000000000000000000000000007', 3, 0), \
                           ('session', 'w', 'xyz', 3, 0), ('epoch', 'w', '00000000000000000000000000000007', -3, 0)";

async fn a_bad_row_is_reported_and_the_rest_loads(backend: &Backend) {
    let store = backend.open().await;
    backend.sql(&format!("{COLUMNS} {STREAMS}")).await;
    backend.sql(ASSIGNMENTS).await;
    // What only one of them can store: a text among numbers, and a number that is none.
    let own = match backend {
        Backend::Sqlite(_) => "1.0, 'high'",
        Backend::Postgres(_) => "'NaN', 0",
    };
    backend
        .sql(&format!(
            "{COLUMNS} ('own', 'x', true, {own}, 'available', '{{}}', '{{}}', 'replace', -1)"
        ))
        .await;
    let found = lead(&store, 1).await;
    let good = StreamSpec::new(stream("good"), "x");
    assert_eq!(found.loaded.streams, vec![good]);
    let epoch = Epoch::from_i64(3).unwrap();
    assert_eq!(
        found.loaded.assignments,
        vec![(stream("good"), assignment("w", epoch))]
    );
    assert_eq!(found.bad_rows.len(), 9, "{:#?}", found.bad_rows);
    for name in [
        "owner", "policy", "after", "label", "weight", "own", "na.me", "session", "epoch",
    ] {
        let row = format!("row {name},");
        let named = found.bad_rows.iter().filter(|text| text.contains(&row)).count();
        assert_eq!(named, 1, "{name}: {:#?}", found.bad_rows);
    }
}
