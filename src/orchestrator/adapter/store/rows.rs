//! Many rows in one statement whose text does not depend on their number: arrays on PostgreSQL, a JSON document on
//! SQLite, which has no arrays. A list of values would make a new statement for each length, which the connections would
//! keep.

use sea_orm::sea_query::ArrayType;
use sea_orm::{DbBackend, Statement, Value};

/// Most rows of one statement: they bound its message and its memory.
pub(super) const MAX_ROWS: usize = 50_000;

/// A column: its name, and its type on PostgreSQL.
#[derive(Debug, Clone, Copy)]
pub(super) struct Column(pub(super) &'static str, pub(super) Type);

/// Types of columns.
#[derive(Debug, Clone, Copy)]
pub(super) enum Type {
    Text,
    Bool,
    Int,
    BigInt,
    Double,
}

impl Type {
    const fn sql(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Bool => "bool",
            Self::Int => "int4",
            Self::BigInt => "int8",
            Self::Double => "float8",
        }
    }

    const fn array(self) -> ArrayType {
        match self {
            Self::Text => ArrayType::String,
            Self::Bool => ArrayType::Bool,
            Self::Int => ArrayType::Int,
            Self::BigInt => ArrayType::BigInt,
            Self::Double => ArrayType::Double,
        }
    }
}

/// The statement that `sql` makes of a source of rows, which has the columns of `columns` in their order. The rows are
/// those of `values`, one value for each column.
pub(super) fn statement<const N: usize>(
    backend: DbBackend,
    columns: &[Column; N],
    rows: Vec<[Value; N]>,
    sql: impl FnOnce(&str) -> String,
) -> Statement {
    if backend == DbBackend::Postgres {
        let source: Vec<String> = columns
            .iter()
            .enumerate()
            .map(|(index, Column(_, kind))| format!("${}::{}[]", index + 1, kind.sql()))
            .collect();
        let source = format!("SELECT * FROM UNNEST({})", source.join(", "));
        let mut arrays: Vec<Vec<Value>> = columns.iter().map(|_| Vec::with_capacity(rows.len())).collect();
        for row in rows {
            for (array, value) in arrays.iter_mut().zip(row) {
                array.push(value);
            }
        }
        let values = columns
            .iter()
            .zip(arrays)
            .map(|(Column(_, kind), array)| Value::Array(kind.array(), Some(Box::new(array))));
        return Statement::from_sql_and_values(backend, sql(&source), values.collect::<Vec<_>>());
    }
    let cells: Vec<String> = (0..N).map(|index| format!("value ->> {index}")).collect();
    // The condition parts the query from what follows it in an upsert.
    let source = format!("SELECT {} FROM json_each(?) WHERE true", cells.join(", "));
    let rows: Vec<serde_json::Value> = rows
        .into_iter()
        .map(|row| row.map(json).to_vec().into())
        .collect();
    let document = serde_json::Value::Array(rows).to_string();
    Statement::from_sql_and_values(backend, sql(&source), [document.into()])
}

/// The value in JSON. The types of columns are all there are.
fn json(value: Value) -> serde_json::Value {
    match value {
        Value::Bool(value) => value.into(),
        Value::Int(value) => value.into(),
        Value::BigInt(value) => value.into(),
        Value::Double(value) => value.into(),
        Value::String(value) => value.into(),
        _ => serde_json::Value::Null,
    }
}

/// `a, b, c`
pub(super) fn names(columns: &[Column]) -> String {
    let names: Vec<&str> = columns.iter().map(|Column(name, _)| *name).collect();
    names.join(", ")
}

/// `b = excluded.b, c = excluded.c`: what an upsert overwrites, everything but the key, which is the first column.
pub(super) fn overwrite(columns: &[Column]) -> String {
    let names: Vec<String> = columns
        .iter()
        .skip(1)
        .map(|Column(name, _)| format!("{name} = excluded.{name}"))
        .collect();
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMNS: [Column; 2] = [Column("name", Type::Text), Column("count", Type::BigInt)];

    fn two(backend: DbBackend) -> Statement {
        let rows = vec![["a".into(), 1_i64.into()], ["b".into(), 2_i64.into()]];
        statement(backend, &COLUMNS, rows, |source| {
            format!("INSERT INTO t {source}")
        })
    }

    #[test]
    fn postgresql_gets_one_array_for_each_column() {
        let statement = two(DbBackend::Postgres);
        assert_eq!(
            statement.sql,
            "INSERT INTO t SELECT * FROM UNNEST($1::text[], $2::int8[])"
        );
        assert_eq!(statement.values.map(|values| values.0.len()), Some(2));
    }

    #[test]
    fn sqlite_gets_one_document() {
        let statement = two(DbBackend::Sqlite);
        assert_eq!(
            statement.sql,
            "INSERT INTO t SELECT value ->> 0, value ->> 1 FROM json_each(?) WHERE true"
        );
        let values = statement.values.map(|values| values.0);
        assert_eq!(values, Some(vec![r#"[["a",1],["b",2]]"#.into()]));
    }

    #[test]
    fn columns_are_listed() {
        assert_eq!(names(&COLUMNS), "name, count");
        assert_eq!(overwrite(&COLUMNS), "count = excluded.count");
    }
}
