//! The MERGE statement, and the block that is a transaction.

use crate::snowflake::name::{ObjectName, quote};
use crate::snowflake::table::Column;
use crate::{Error, Result};

/// Whether a change deletes its key.
pub(super) const ROWDELETED: &str = "ROWDELETED";
/// The order of a unit's changes.
pub(super) const ROWSEQ: &str = "ROWSEQ";

/// Applies the changes in `staging` to `target`, of each key the last, as long as `guard` holds.
pub(super) fn merge(
    target: &ObjectName,
    staging: &ObjectName,
    columns: &[Column],
    guard: &str,
) -> String {
    let list = |columns: &[&Column], of: &dyn Fn(&Column) -> String, between: &str| {
        let parts: Vec<_> = columns.iter().map(|column| of(column)).collect();
        parts.join(between)
    };
    let (keys, rest): (Vec<_>, Vec<_>) = columns.iter().partition(|column| column.is_key);
    let all: Vec<_> = columns.iter().collect();
    let name = |column: &Column| quote(&column.name);
    let theirs = |column: &Column| format!("s.{}", quote(&column.name));
    let set = |column: &Column| format!("{0} = s.{0}", quote(&column.name));
    let same = |column: &Column| match column.nullable {
        // NULL is a key like any other.
        true => format!("EQUAL_NULL(t.{0}, s.{0})", quote(&column.name)),
        false => format!("t.{0} = s.{0}", quote(&column.name)),
    };
    let mut sql = format!(
        "MERGE INTO {target} t USING (SELECT * FROM {staging} WHERE {guard} QUALIFY ROW_NUMBER() OVER \
         (PARTITION BY {} ORDER BY {ROWSEQ} DESC) = 1) s ON {} \
         WHEN MATCHED AND s.{ROWDELETED} THEN DELETE",
        list(&keys, &name, ", "),
        list(&keys, &same, " AND "),
    );
    if !rest.is_empty() {
        sql += &format!(" WHEN MATCHED THEN UPDATE SET {}", list(&rest, &set, ", "));
    }
    sql += &format!(
        " WHEN NOT MATCHED AND NOT s.{ROWDELETED} THEN INSERT ({}) VALUES ({})",
        list(&all, &name, ", "),
        list(&all, &theirs, ", ")
    );
    sql
}

/// One statement that carries out all of `statements` or none.
pub(super) fn block(statements: &[String]) -> Result<String> {
    let body = statements.join(";\n");
    if body.contains("$$") {
        let text = "names with $$ in them cannot be used in a Snowflake sink: rename the table, \
                    schema, database or column";
        return Err(Error::User(text.to_owned()));
    }
    Ok(format!(
        "EXECUTE IMMEDIATE $$\nBEGIN\nBEGIN TRANSACTION;\n{body};\nCOMMIT;\nRETURN 'done';\n\
         EXCEPTION\nWHEN OTHER THEN\nROLLBACK;\nRAISE;\nEND;\n$$"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(name: &str, is_key: bool, nullable: bool) -> Column {
        Column {
            name: name.to_owned(),
            sql_type: "VARCHAR".to_owned(),
            is_key,
            nullable,
        }
    }

    fn name(name: &str) -> ObjectName {
        ObjectName::parse("TABLE", name, "D", "S").unwrap()
    }

    #[test]
    fn keys_are_matched_and_the_rest_is_set() {
        let columns = [
            column("A", true, false),
            column("b", true, true),
            column("C", false, true),
        ];
        assert_eq!(
            merge(&name("t"), &name("u"), &columns, "1 = 1"),
            "MERGE INTO \"D\".\"S\".\"T\" t USING (SELECT * FROM \"D\".\"S\".\"U\" WHERE 1 = 1 \
             QUALIFY ROW_NUMBER() OVER (PARTITION BY \"A\", \"b\" ORDER BY ROWSEQ DESC) = 1) s \
             ON t.\"A\" = s.\"A\" AND EQUAL_NULL(t.\"b\", s.\"b\") \
             WHEN MATCHED AND s.ROWDELETED THEN DELETE \
             WHEN MATCHED THEN UPDATE SET \"C\" = s.\"C\" \
             WHEN NOT MATCHED AND NOT s.ROWDELETED THEN INSERT (\"A\", \"b\", \"C\") \
             VALUES (s.\"A\", s.\"b\", s.\"C\")"
        );
    }

    #[test]
    fn a_table_of_keys_alone_has_nothing_to_set() {
        let sql = merge(&name("t"), &name("u"), &[column("A", true, false)], "1 = 1");
        assert!(!sql.contains("UPDATE SET"), "{sql}");
    }

    #[test]
    fn a_block_is_a_transaction() {
        let statements = ["A".to_owned(), "B".to_owned()];
        assert_eq!(
            block(&statements).unwrap(),
            "EXECUTE IMMEDIATE $$\nBEGIN\nBEGIN TRANSACTION;\nA;\nB;\nCOMMIT;\nRETURN 'done';\n\
             EXCEPTION\nWHEN OTHER THEN\nROLLBACK;\nRAISE;\nEND;\n$$"
        );
        assert!(block(&["UPDATE \"a$$b\"".to_owned()]).is_err());
    }
}
