//! The dialect's words.

use datafusion::sql::sqlparser::tokenizer::Word;

/// Every word with a meaning, for completion and highlighting. Functions and types that are
/// looked up by name are not among them.
pub const KEYWORDS: &[&str] = &[
    "ADD", "ADVANCE", "ALL", "ALTER", "ANALYZE", "AND", "ANY", "ARRAY", "AS", "ASC", "ASSERT",
    "BEGINNING", "BETWEEN", "BIGINT", "BOOLEAN", "BY", "BYTES", "CASE", "CAST", "CHANGES",
    "COLUMN", "CREATE", "CROSS", "DATE", "DAY", "DAYS", "DECIMAL", "DEFINE", "DELETE", "DESC",
    "DESCRIBE", "DISTINCT", "DOUBLE", "DROP", "ELSE", "EMIT", "END", "ESCAPE", "EXCEPT", "EXISTS",
    "EXPLAIN", "EXTENDED", "FALSE", "FINAL", "FROM", "FULL", "FUNCTION", "FUNCTIONS", "GRACE",
    "GROUP", "HAVING", "HEADER", "HEADERS", "HOPPING", "HOUR", "HOURS", "ID", "IF", "IN", "INNER",
    "INSERT", "INT", "INTEGER", "INTERSECT", "INTERVAL", "INTO", "IS", "JOIN", "KEY", "LEFT",
    "LIKE", "LIMIT", "LIST", "MAP", "MILLISECOND", "MILLISECONDS", "MINUTE", "MINUTES", "NOT",
    "NULL", "OFFSET", "ON", "OR", "ORDER", "OUTER", "OVER", "PARTITION", "PAUSE", "PERIOD",
    "PRIMARY", "PRINT", "PROPERTIES", "QUERIES", "REPLACE", "RESUME", "RETENTION", "RIGHT",
    "SCHEMA", "SECOND", "SECONDS", "SELECT", "SESSION", "SET", "SHOW", "SINK", "SINKS", "SIZE",
    "SLIDING", "SOURCE", "STREAM", "STREAMS", "STRING", "STRUCT", "SUBJECT", "TABLE", "TABLES",
    "TERMINATE", "THEN", "TIME", "TIMEOUT", "TIMESTAMP", "TOPIC", "TOPICS", "TRUE", "TRY_CAST",
    "TUMBLING", "TYPE", "TYPES", "UNDEFINE", "UNION", "UNSET", "USING", "VALUES", "VARCHAR",
    "VARIABLES", "WHEN", "WHERE", "WINDOW", "WITH", "WITHIN",
];

/// The words statements start with.
pub(crate) const STATEMENTS: &[&str] = &[
    "SELECT", "CREATE", "INSERT", "DROP", "SHOW", "LIST", "DESCRIBE", "EXPLAIN", "PRINT",
    "TERMINATE", "PAUSE", "RESUME", "SET", "UNSET", "DEFINE", "UNDEFINE", "ALTER", "ASSERT",
    "VALUES", "WITH",
];

/// Words that are a name only in quotes: without one of them a clause could not be told from
/// what stands before it.
const RESERVED: &[&str] = &[
    "AND", "AS", "BETWEEN", "BY", "CASE", "CAST", "CREATE", "CROSS", "DISTINCT", "ELSE", "END",
    "EXCEPT", "EXISTS", "FALSE", "FROM", "FULL", "GROUP", "HAVING", "IN", "INNER", "INSERT",
    "INTERSECT", "INTO", "IS", "JOIN", "LEFT", "LIKE", "LIMIT", "NOT", "NULL", "ON", "OR", "ORDER",
    "RIGHT", "SELECT", "THEN", "TRUE", "UNION", "USING", "VALUES", "WHEN", "WHERE", "WITH",
];

/// Those of them that start an expression nevertheless. LEFT and RIGHT are functions, too.
const START_EXPRESSION: &[&str] =
    &["CASE", "CAST", "EXISTS", "FALSE", "LEFT", "NOT", "NULL", "RIGHT", "TRUE"];

/// Whether the word can be a name only in quotes.
pub(crate) fn is_reserved(word: &Word) -> bool {
    word.quote_style.is_none() && RESERVED.contains(&word.value.as_str())
}

/// Whether no expression starts with the word.
pub(crate) fn ends_expression(word: &Word) -> bool {
    is_reserved(word) && !START_EXPRESSION.contains(&word.value.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_sorted_and_agree() {
        assert!(KEYWORDS.is_sorted());
        assert!(RESERVED.is_sorted());
        for word in RESERVED.iter().chain(STATEMENTS).chain(START_EXPRESSION) {
            assert!(KEYWORDS.contains(word), "{word}");
        }
    }
}
