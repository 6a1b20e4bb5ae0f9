//! The database's own history of assignments: a trigger writes down each change, in the order in which they were committed.

use std::collections::BTreeMap;

use streamkeeper_tests::postgres::Postgres;

/// Row locks put the changes of one stream in the order of their numbers.
const TRIGGER: &str = "
    CREATE TABLE ledger (number bigserial PRIMARY KEY, stream text, epoch bigint, term bigint);
    GRANT ALL ON ledger, ledger_number_seq TO PUBLIC;
    CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        INSERT INTO ledger (stream, epoch, term) SELECT NEW.stream, NEW.epoch, term FROM leadership;
        RETURN NULL;
    END $$;
    CREATE TRIGGER note AFTER INSERT OR UPDATE ON assignment FOR EACH ROW EXECUTE FUNCTION note();";
/// The low half of an epoch is a counter, the high half the term of the leader that gave it.
const COUNTER_BITS: u32 = 32;

/// What was read of it.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    read: i64,
    /// The highest epoch of each stream.
    highest: BTreeMap<String, i64>,
}

impl Ledger {
    /// Writes down changes from now on.
    pub(crate) fn begin(&mut self, postgres: &Postgres) {
        postgres.sql(TRIGGER);
    }

    /// Reads what is new, and says what breaks S2 or S4: an epoch that went back, or one of a term that had no fence yet.
    pub(crate) fn broken(&mut self, postgres: &Postgres) -> Vec<String> {
        let sql = format!(
            "SELECT number, stream, epoch, term FROM ledger WHERE number > {} ORDER BY number",
            self.read
        );
        let rows = postgres.sql(&sql);
        let mut broken = Vec::new();
        for row in rows.lines() {
            let words: Vec<&str> = row.split('|').collect();
            let [number, stream, epoch, term] = words[..] else {
                panic!("the ledger holds {row:?}");
            };
            let number_of = |word: &str| word.parse::<i64>().expect("a number");
            let (epoch, term) = (number_of(epoch), number_of(term));
            self.read = number_of(number);
            let highest = self.highest.entry(stream.to_owned()).or_insert(epoch);
            if epoch < *highest {
                broken.push(format!(
                    "S4 {stream}: the database went back from epoch {highest} to {epoch}, under term {term}"
                ));
            }
            if epoch >> COUNTER_BITS > term {
                broken.push(format!(
                    "S4 {stream}: epoch {epoch} was written before its term, under {term}"
                ));
            }
            *highest = epoch.max(*highest);
        }
        broken
    }
}
